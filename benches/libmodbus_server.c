/* Debian's libmodbus as a server on loopback, for benches/modbus_server.rs: any number of connections by select, as the
 * library's own bandwidth-server-many-up does. Prints its port.
 *
 *   cc -O2 -o /tmp/libmodbus_server benches/libmodbus_server.c -lmodbus
 */

#include <arpa/inet.h>
#include <modbus/modbus.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <unistd.h>

int main(void) {
    int port = 0;
    modbus_t *m = NULL;
    int listener = -1;
    /* libmodbus takes no port 0. */
    for (port = 20000 + getpid() % 20000; listener < 0 && port < 60000; port++) {
        m = modbus_new_tcp("127.0.0.1", port);
        listener = modbus_tcp_listen(m, 64);
        if (listener >= 0) {
            break;
        }
        modbus_free(m);
    }
    modbus_mapping_t *map = modbus_mapping_new(0, 0, 125, 125);
    if (listener < 0 || map == NULL) {
        return 1;
    }
    printf("%d\n", port);
    fflush(stdout);
    fd_set all;
    FD_ZERO(&all);
    FD_SET(listener, &all);
    int most = listener;
    uint8_t query[MODBUS_TCP_MAX_ADU_LENGTH];
    for (;;) {
        fd_set ready = all;
        if (select(most + 1, &ready, NULL, NULL, NULL) < 0) {
            return 1;
        }
        for (int fd = 0; fd <= most; fd++) {
            if (!FD_ISSET(fd, &ready)) {
                continue;
            }
            if (fd == listener) {
                int one = 1;
                int new = accept(listener, NULL, NULL);
                if (new < 0) {
                    continue;
                }
                setsockopt(new, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
                FD_SET(new, &all);
                most = new > most ? new : most;
                continue;
            }
            modbus_set_socket(m, fd);
            int length = modbus_receive(m, query);
            if (length > 0) {
                modbus_reply(m, query, length, map);
            } else if (length < 0) {
                close(fd);
                FD_CLR(fd, &all);
            }
        }
    }
}
