/* Debian's libmodbus as a master: every function and some exceptions, one line each, "name result".
 *
 *   libmodbus_master tcp HOST PORT UNIT
 *   libmodbus_master rtu DEVICE BAUD PARITY UNIT
 *
 * A result is the values read, "ok" for a write, or "exception N"; anything else is "error TEXT".
 */

#include <errno.h>
#include <modbus/modbus.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void say(const char *name, int rc, const uint16_t *words, const uint8_t *bits, int count) {
    printf("%s", name);
    if (rc < 0 && errno > MODBUS_ENOBASE && errno <= MODBUS_ENOBASE + 11) {
        printf(" exception %d", errno - MODBUS_ENOBASE);
    } else if (rc < 0) {
        printf(" error %s", modbus_strerror(errno));
    } else if (words == NULL && bits == NULL) {
        printf(" ok");
    }
    for (int i = 0; rc >= 0 && i < count; i++) {
        printf(" %d", words ? words[i] : bits[i]);
    }
    printf("\n");
    fflush(stdout);
}

int main(int argc, char **argv) {
    int tcp = argc == 5 && strcmp(argv[1], "tcp") == 0;
    int rtu = argc == 6 && strcmp(argv[1], "rtu") == 0;
    if (!tcp && !rtu) {
        fprintf(stderr, "usage: %s tcp HOST PORT UNIT | rtu DEVICE BAUD PARITY UNIT\n", argv[0]);
        return 64;
    }
    modbus_t *m = tcp ? modbus_new_tcp(argv[2], atoi(argv[3])) : modbus_new_rtu(argv[2], atoi(argv[3]), argv[4][0], 8, 1);
    if (m == NULL || modbus_set_slave(m, atoi(argv[argc - 1])) != 0 || modbus_set_response_timeout(m, 10, 0) != 0 ||
        modbus_connect(m) != 0) {
        fprintf(stderr, "cannot connect: %s\n", modbus_strerror(errno));
        return 1;
    }
    uint16_t words[125];
    uint8_t bits[2000];
    const uint16_t two[] = {410, 20}, one[] = {333}, split[] = {390, 2000};
    say("fc6", modbus_write_register(m, 0, 400), NULL, NULL, 0);
    say("fc3", modbus_read_registers(m, 0, 1, words), words, NULL, 1);
    say("fc16", modbus_write_registers(m, 0, 2, two), NULL, NULL, 0);
    say("fc3-both", modbus_read_registers(m, 0, 2, words), words, NULL, 2);
    say("fc22", modbus_mask_write_register(m, 0, 0xFF00, 0x0055), NULL, NULL, 0);
    say("fc3-masked", modbus_read_registers(m, 0, 1, words), words, NULL, 1);
    say("fc23", modbus_write_and_read_registers(m, 0, 1, one, 0, 2, words), words, NULL, 2);
    say("fc5", modbus_write_bit(m, 0, 1), NULL, NULL, 0);
    say("fc1", modbus_read_bits(m, 0, 1, bits), NULL, bits, 1);
    bits[0] = 0;
    say("fc15", modbus_write_bits(m, 0, 1, bits), NULL, NULL, 0);
    say("fc1-off", modbus_read_bits(m, 0, 1, bits), NULL, bits, 1);
    say("fc2", modbus_read_input_bits(m, 0, 11, bits), NULL, NULL, 0);
    say("fc4", modbus_read_input_registers(m, 5, 1, words), words, NULL, 1);
    say("fc3-block", modbus_read_registers(m, 0, 100, words), NULL, NULL, 0);
    /* One of the two is out of range: neither is written. */
    say("fc16-refused", modbus_write_registers(m, 0, 2, split), NULL, NULL, 0);
    say("fc6-range", modbus_write_register(m, 0, 1001), NULL, NULL, 0);
    say("fc3-unchanged", modbus_read_registers(m, 0, 2, words), words, NULL, 2);
    say("fc3-nowhere", modbus_read_registers(m, 5000, 1, words), NULL, NULL, 0);
    say("fc1-nowhere", modbus_read_bits(m, 5000, 1, bits), NULL, NULL, 0);
    say("fc17", modbus_report_slave_id(m, sizeof bits, bits), NULL, NULL, 0);
    modbus_close(m);
    modbus_free(m);
    return 0;
}
