"""Check a machine on which GPU jobs will run. Prints one line per check; exits with 1 on errors."""

import argparse
import sys
from pathlib import Path

from abhinaya.preflight import gpu_node, printing
from abhinaya.runtime import errors, files


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda", help="cpu leaves out what concerns a GPU")
    parser.add_argument(
        "--work",
        nargs="*",
        choices=list(gpu_node.WORK),
        default=list(gpu_node.WORK),
        help="also check the packages of transcription (whisperx) and of zero-shot labelling (vllm); default: both",
    )
    parser.add_argument("--output", type=Path, help="JSON file to write, with the versions of the packages")
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    if args.output:
        files.check_targets([args.output])
    findings = printing.show(gpu_node.check(args.device, args.work))
    failed = sum(finding.failed for finding in findings)
    if args.output:
        files.write_json(gpu_node.report(args.device, findings), args.output)
    if failed:
        sys.exit(f"doctor: {failed} {'error' if failed == 1 else 'errors'}; fix them, or use another node")
    print("doctor: no errors")


if __name__ == "__main__":
    errors.run(main)
