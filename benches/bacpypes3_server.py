"""A peer of the BACnet benchmark: a bacpypes3 device with 100 analog inputs and as many analog values.

target/peers-venv/bin/python benches/bacpypes3_server.py PORT
"""

import asyncio
import sys

from bacpypes3.argparse import SimpleArgumentParser
from bacpypes3.app import Application
from bacpypes3.local.analog import AnalogInputObject, AnalogValueObject


async def main(port):
    args = SimpleArgumentParser().parse_args(["--address", f"127.0.0.1/8:{port}", "--instance", "1002"])
    app = Application.from_args(args)
    for n in range(1, 101):
        app.add_object(
            AnalogInputObject(objectIdentifier=("analog-input", n), objectName=f"input {n}", presentValue=20.5)
        )
        app.add_object(
            AnalogValueObject(
                objectIdentifier=("analog-value", n), objectName=f"value {n}", presentValue=0.0, covIncrement=0.1
            )
        )
    await asyncio.Event().wait()


asyncio.run(main(int(sys.argv[1])))
