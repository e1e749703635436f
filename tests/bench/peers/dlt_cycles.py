"""Reads the simulated API into PostgreSQL with dlt, as its documentation shows: the REST source, cycle after cycle.

A line of JSON a cycle goes to standard output: the seconds it took, this process's own time in it, the most that was
resident of this process so far in bytes, and the seconds since the process was started.
"""

import argparse
import json
import os
import resource
import time
from datetime import datetime, timezone

STARTED = time.time() - (time.clock_gettime(time.CLOCK_BOOTTIME) - float(
    open("/proc/self/stat").read().rsplit(")", 1)[1].split()[19]) / os.sysconf("SC_CLK_TCK"))

import dlt  # noqa: E402 (what it takes to load is part of what it takes)
from dlt.sources.rest_api import rest_api_source  # noqa: E402


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--endpoint", required=True)
    parser.add_argument("--project", required=True)
    parser.add_argument("--token", required=True)
    parser.add_argument("--database", required=True, help="a URL for libpq")
    parser.add_argument("--folder", required=True, help="where the pipeline keeps its files")
    parser.add_argument("--how", required=True, choices=["append", "scd2"])
    parser.add_argument("--cycles", required=True, type=int)
    args = parser.parse_args()

    pipeline = dlt.pipeline(
        pipeline_name=f"bench_{args.how}",
        pipelines_dir=args.folder,
        destination=dlt.destinations.postgres(args.database),
        dataset_name=f"dlt_{args.how}",
    )
    for _ in range(args.cycles):
        begun, used = time.perf_counter(), time.process_time()
        pipeline.run(visit(args))
        print(json.dumps({
            "seconds": time.perf_counter() - begun,
            "processor": time.process_time() - used,
            "memory": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
            "since_start": time.time() - STARTED,
        }), flush=True)


def visit(args: argparse.Namespace):
    """Both calls. `append` adds when each row was read, without which it would be of no use."""
    desktops = {
        "name": "desktops",
        "endpoint": {
            "path": f"v2/{args.project}/connect-desktops",
            "data_selector": "desktops",
            "paginator": {
                "type": "offset", "limit": 1000, "offset": 0, "limit_param": "limit", "offset_param": "offset",
                "total_path": "total_count",
            },
        },
    }
    groups = {
        "name": "groups",
        "endpoint": {
            "path": f"v2/{args.project}/connections/status",
            "data_selector": "statics",
            "paginator": "single_page",
        },
    }
    if args.how == "append":
        read_at = datetime.now(timezone.utc)
        for resource_ in (desktops, groups):
            resource_["write_disposition"] = "append"
            resource_["processing_steps"] = [{"map": lambda row: row | {"read_at": read_at}}]
    else:
        for resource_ in (desktops, groups):
            resource_["write_disposition"] = {"disposition": "merge", "strategy": "scd2"}
    return rest_api_source({
        "client": {
            "base_url": f"{args.endpoint}/",
            "headers": {"X-Auth-Token": args.token},
        },
        "resources": [desktops, groups],
    })


if __name__ == "__main__":
    main()
