"""Works the digests of a ledger out again, from docs/digests.md alone; the standard library is enough.

Reads the rows of a ledger from standard input, one JSON object a line ({"table": …, "row": {…}}), as the end of that
page makes them. Prints a line for each source. Exit code 1: an entry does not follow from the rows, and which one.
"""

import hashlib
import json
import re
import sys
from bisect import bisect_right
from collections import defaultdict
from datetime import datetime, timedelta, timezone

COUNTERS = [
    "running_num", "stop_num", "hibernate_num", "other_num", "attached_num", "unattached_num", "cannot_attach_num",
    "in_process_num", "in_use_num", "unregistered_num", "ready_num", "disconnected_num", "unknown_num",
]


class Wrong(Exception):
    """A value that does not follow from the others."""


# How values are written.

def number(value):
    return value.to_bytes(8, "big", signed=True)


def text(value):
    data = value.encode()
    return number(len(data)) + data


def optional(write, value):
    return b"\0" if value is None else b"\1" + write(value)


def sha(tag, *parts):
    return hashlib.sha256(text(tag) + b"".join(parts)).digest()


# How psql writes rows.

def micros(value):
    """Microseconds since 1970 of an instant in UTC, as row_to_json writes it."""
    if value is None:
        return None
    match = re.fullmatch(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{1,6}))?\+00:00", value)
    if not match:
        raise Wrong(f"{value!r} is no instant in UTC")
    whole = datetime.strptime(match[1], "%Y-%m-%dT%H:%M:%S").replace(tzinfo=timezone.utc)
    return int(whole.timestamp()) * 1_000_000 + int((match[2] or "").ljust(6, "0"))


def month_before(at):
    return f"{datetime.fromisoformat(at) - timedelta(days=1):%Y-%m}"


def as_jsonb(value):
    """A value as PostgreSQL writes `jsonb`: in the order in which it keeps keys, which is the one that they were read in."""
    return json.dumps(value, ensure_ascii=False).encode()


def data(value):
    return None if value is None else bytes.fromhex(value.removeprefix("\\x"))


class Source:
    """The rows of one source."""

    def __init__(self, tables, source):
        self.name = source["name"]
        self.rows = lambda table: [row for row in tables[table] if row["source_id"] == source["source_id"]]
        # Of a snapshot whose header is pruned there are the columns that stay.
        self.kept, packed = self.of_days()
        self.snapshots = sorted(self.rows("snapshot") + packed + self.kept, key=lambda row: row["sequence"])
        # Each entry with its kind.
        prunings = sorted(self.rows("pruning"), key=lambda row: row["sequence"])
        entries = [(row, b"S") for row in self.snapshots] + [(row, b"L") for row in self.rows("late")]
        self.kept_hashes(prunings)
        self.standings(prunings)
        entries += [(row, b"E") for row in self.rows("erasure")]
        entries += [(row, b"P") for row in prunings]
        self.entries = sorted(entries, key=lambda entry: entry[0]["sequence"])
        self.listings = self.instants(lambda row: row["desktops_outcome"] > 0)
        self.complete = self.instants(lambda row: row["desktops_outcome"] == 2)
        self.statistics = self.instants(lambda row: row["groups_outcome"] == 2)
        # What stands where something was erased, as the newest erasure of it says.
        self.erased = {}
        for row in sorted(self.rows("erased"), key=lambda row: row["sequence"]):
            self.erased[row["what"], row["no"]] = data(row["replacement"])
        # The months that are pruned: of a class of a month the newest entry counts.
        newest = {(row["class"], row["month_from"]): row["is_restored"] for row in prunings}
        self.gone = {(what, at[:7]) for (what, at), back in newest.items() if not back}
        self.pruned = {month for what, month in self.gone if what in ("spans", "groups")}
        # Those of which spans were, whether or not they came back, and by which entry: who was erased meanwhile did not. What came
        # late after it is as it came.
        self.ever = {
            row["month_from"][:7]: row["sequence"] for row in prunings if row["class"] == "spans" and not row["is_restored"]
        }
        self.is_untold = False
        self.names()

    def instants(self, wanted):
        return sorted(micros(row["observed_at"]) for row in self.snapshots if wanted(row))

    # Packed and pruned headers.

    def of_days(self):
        """The snapshots whose header is pruned, and those whose header is packed."""
        staying = [
            "sequence", "observed_at", "finished_at", "max_gap", "desktops_outcome", "groups_outcome", "desktops_total",
            "desktops_recorded",
        ]
        going = ["snapshot_id", "ticked_at", "groups_recorded", "changes", "error_code", "error_message"]
        kept, packed = [], []
        for day in sorted(self.rows("visit_day"), key=lambda day: day["day_from"]):
            is_pruned = day["snapshot_id"] is None
            columns = staying if is_pruned else staying + going
            digests, bodies = data(day["digest"]), data(day["body_hash"])
            newest = last = None
            for place, values in enumerate(zip(*(day[column] for column in columns), strict=True)):
                hashed = slice(32 * place, 32 * place + 32)
                row = dict(zip(columns, values), digest=digests[hashed].hex())
                if row["observed_at"][:10] + "T00:00:00+00:00" != day["day_from"]:
                    raise Wrong(f"entry {row['sequence']} is not of the day {day['day_from']}")
                if last is not None and micros(row["observed_at"]) <= last:
                    raise Wrong(f"entry {row['sequence']} does not come in the order of time in its day")
                last = micros(row["observed_at"])
                if is_pruned:
                    kept.append(row | dict(ticked_at=day["scheduled_at"], is_kept=True))
                    continue
                newest = max(filter(None, (newest, row["ticked_at"])), key=micros, default=None)
                body = bodies[hashed]
                packed.append(row | dict(scheduled_at=row["ticked_at"], body_hash=body.hex() if any(body) else None))
            if not is_pruned and newest != day["scheduled_at"]:
                raise Wrong(f"the newest tick of {day['day_from']} is not what the row of the day says")
        return kept, packed

    def kept_hashes(self, prunings):
        """What stays of the headers of a month is what the newest entry about them says."""
        newest = {row["month_from"][:7]: row for row in prunings if row["class"] == "headers"}
        expected = {month: data(row["kept"]) for month, row in newest.items() if not row["is_restored"]}
        records = {month: [] for month in expected}
        for row in self.kept:
            records.setdefault(row["observed_at"][:7], []).append(
                number(row["sequence"]) + number(micros(row["observed_at"])) + number(micros(row["finished_at"]))
                + number(row["max_gap"]) + number(row["desktops_outcome"]) + number(row["groups_outcome"])
                + optional(number, row["desktops_total"]) + optional(number, row["desktops_recorded"])
                + data(row["digest"]) + optional(number, micros(row["ticked_at"]))
            )
        for month, parts in records.items():
            if sha("deskledger.pruning.headers.1", *parts) != expected.get(month):
                raise Wrong(f"what stays of the headers of {month} is not what its pruning says")

    def standings(self, prunings):
        """What stands at the end of a month whose spans are pruned is what the newest entry about them says."""
        newest = {(row["class"], row["month_from"][:7]): row for row in prunings}
        gone = {what for what, row in newest.items() if not row["is_restored"]}
        for row in self.rows("standing"):
            before, after = month_before(row["at"]), row["at"][:7]
            if ("spans", before) not in gone:
                raise Wrong(f"a row of standing of {row['at']}, where no month ends that is pruned")
            state = dict(row["state"])
            desktops, absent, of_desktops = (state.pop(key, None) for key in ("desktops", "absent", "desktops_hash"))
            if of_desktops is None:
                of_desktops = hashlib.sha256(as_jsonb([desktops, absent])).hexdigest()
            elif desktops or absent or ("spans", after) not in gone:
                raise Wrong(f"what stands at {row['at']} has both desktops and their hash, or lacks them")
            kept = data(newest["spans", before]["kept"])
            if kept is not None and kept != hashlib.sha256(as_jsonb(state) + of_desktops.encode()).digest():
                raise Wrong(f"what stands at {row['at']} is not what the pruning of the month before says")
        there = {month_before(row["at"]) for row in self.rows("standing")}
        for what, month in gone:
            after = f"{datetime.fromisoformat(month + '-01') + timedelta(days=32):%Y-%m}"
            if what == "spans" and month not in there and not {("spans", after), ("groups", after)} <= gone:
                raise Wrong(f"nothing says what stands at the end of {month}")

    # Names.

    def committed(self, table, key, tag, *columns, what=None, erased_tag=None):
        commitments = {}
        for row in self.rows(table):
            salt = data(row["salt"])
            parts = [write(row[column]) for column, write in columns]
            if not self.is_replaced(what, row[key], salt, erased_tag, *parts):
                if salt is None or sha(tag, salt, *parts) != data(row["commitment"]):
                    raise Wrong(f"the commitment of {table} number {row[key]} is not that of its text and salt")
            commitments[row[key]] = data(row["commitment"])
        return commitments

    def is_replaced(self, what, no, salt, tag, *parts):
        """Whether an erasure put this text there."""
        replacement = self.erased.get((what, no))
        if replacement is None:
            return False
        if salt is not None or sha(tag, *parts) != replacement:
            raise Wrong(f"{what} number {no} is not what its erasure put there")
        return True

    def names(self):
        maybe = lambda value: optional(text, value)
        self.desktop = self.committed("desktop", "desktop_no", "deskledger.desktop.1", ("desktop_id", text))
        self.label = self.committed(
            "label", "label_no", "deskledger.name.1", ("desktop_name", maybe),
            what="N", erased_tag="deskledger.erased.name.1",
        )
        person = self.committed(
            "person", "person_no", "deskledger.person.1", ("type", maybe), ("id", maybe), ("name", maybe),
            what="P", erased_tag="deskledger.erased.person.1",
        )
        self.person = person
        assignment = {}
        for row in self.rows("assignment"):
            entries = list(zip(row["entry_person_nos"], row["attach_users"], strict=True))
            if row["chain_order"] is not None:
                if sorted(row["chain_order"]) != list(range(1, len(entries) + 1)):
                    raise Wrong(f"chain_order of assignment number {row['assignment_no']} is no order of its entries")
                entries = [entries[place - 1] for place in row["chain_order"]]
            parts = [person[no] + optional(text, entry["user_group"]) for no, entry in entries]
            assignment[row["assignment_no"]] = sha("deskledger.assignment.1", *parts)
        self.assigned = {row["label_no"]: assignment[row["assignment_no"]] for row in self.rows("label")}
        self.status = {row["status_id"]: row["status"] for row in self.rows("status")}
        self.group = {
            row["group_no"]: optional(text, row["static_name"]) + number(row["ordinal"])
            for row in self.rows("desktop_group")
        }

    # Where the records are found. Each list of records: (order, kind, bytes), by the snapshot's instant.

    def say(self, at, order, no, kind, more=b""):
        self.records[at].append((order, no, kind, kind + more))

    def find_spans(self):
        filed = self.rows("filed")
        spans = [row for row in filed if row["ended"] != -5]
        begun = defaultdict(list)
        # What goes on into a pruned month, unless it outlived it: where it began is all that is left of it.
        outlived = {(row["desktop_no"], row["first_seen"]) for row in spans + self.rows("open_span")}
        cut = [
            row for row in filed
            if row["ended"] == -5 and row["first_seen"] is None and ("spans", row["piece_to"][:7]) in self.gone
            and (row["desktop_no"], row["piece_from"]) not in outlived
        ]
        for row in spans + cut + self.rows("open_span"):
            no, at = row["desktop_no"], micros(row["first_seen"] or row["piece_from"])
            begun[no].append(at)
            state = optional(text, self.status[row["status_id"]]) + self.label[row["label_no"]]
            before = optional(number, micros(row["started_after"]))
            self.say(at, 0, no, b"S", self.desktop[no] + state + self.assigned[row["label_no"]] + before)
            if micros(row.get("unlisted_since")) is not None:
                self.say(micros(row["unlisted_since"]), 0, no, b"U", self.desktop[no])
        for all_of_one in begun.values():
            all_of_one.sort()
        for row in spans:
            no, last = row["desktop_no"], micros(row["last_seen"])
            span, absent, left_out = after(begun[no], last), after(self.complete, last), after(self.listings, last)
            ended = min(at for at in (span, absent, float("inf")) if at is not None)
            if ended == float("inf"):
                raise Wrong(f"nothing ends the span of desktop number {no} that was last seen at {row['last_seen']}")
            if absent is not None and (span is None or absent < span):
                self.say(absent, 0, no, b"A", self.desktop[no])
            if left_out < ended:
                self.say(left_out, 0, no, b"U", self.desktop[no])
        for row in self.rows("unlisted"):
            no = row["desktop_no"]
            self.say(micros(row["from_at"]), 0, no, b"U", self.desktop[no])
            self.say(after(self.listings, micros(row["to_at"])), 0, no, b"L", self.desktop[no])

    def find_groups(self):
        wide = {(row["group_no"], row["from_at"]): row["counters"] for row in self.rows("group_span_wide")}
        filed, begun = self.rows("filed_group"), defaultdict(set)
        goes_on = set()
        for row in filed + self.rows("open_group_span"):
            no, at = row["group_no"], micros(row["from_at"])
            if row["is_continued"]:
                goes_on.add((no, at))
                continue
            begun[no].add(at)
            counters = row.get("counters") or wide.get((no, row["from_at"])) or [row[name] for name in COUNTERS]
            parts = [optional(number, counter) for counter in counters]
            self.say(at, 1, no, b"G", self.group[no] + b"".join(parts))
        for row in filed:
            no = row["group_no"]
            if (no, micros(row["to_at"])) in goes_on:
                continue
            at = after(self.statistics, micros(row["last_seen"]))
            if at is None:
                raise Wrong(f"nothing ends the counters of group number {no} from {row['from_at']}")
            if at not in begun[no]:
                self.say(at, 2, no, b"X", self.group[no])

    # The chain.

    def check(self):
        self.records = defaultdict(list)
        self.find_spans()
        self.find_groups()
        digest = sha("deskledger.genesis.1", text(self.name))
        for sequence, (row, kind) in enumerate(self.entries, 1):
            place = f"entry {row['sequence']}"
            if kind == b"E":
                place += f" (erasure of {row['erased_at']})"
            elif kind != b"P":
                place += f" (snapshot {row.get('snapshot_id', 'without header')} of {row['observed_at']})"
            if row["sequence"] != sequence:
                raise Wrong(f"entry {sequence} is missing before {place}")
            if "is_kept" in row:
                self.records.pop(micros(row["observed_at"]), None)
                digest, self.is_untold = data(row["digest"]), True
                continue
            if kind == b"S":
                body, header = self.changed(row, place), sha("deskledger.header.1", *self.own_row(row, row["changes"]))
            elif kind == b"E":
                body = self.replaced(row, place)
                counts = [number(row[name]) for name in ("persons", "assignments", "desktop_names", "late_snapshots")]
                at, pseudonym = number(micros(row["erased_at"])), text(row["pseudonym"])
                header = sha("deskledger.erasure.header.1", at, pseudonym, *counts)
            elif kind == b"P":
                body, archive = None, optional(lambda digest: digest, data(row["archive"]))
                way = b"R" if row["is_restored"] else b"P"
                header = sha(
                    "deskledger.pruning.header.1", number(micros(row["at"])), way, text(row["class"]),
                    number(micros(row["month_from"])), number(row["rows"]), archive,
                    b"" if row["class"] != "headers" and row["kept"] is None
                    else optional(lambda digest: digest, data(row["kept"])),
                )
            else:
                received = number(micros(row["received_at"]))
                body = self.said(row, place)
                header = sha("deskledger.late.header.1", *self.own_row(row, 0), received)
            digest = sha("deskledger.entry.1", digest, number(sequence), kind, header, body or bytes(32))
            if digest != data(row["digest"]):
                raise Wrong(f"{place}: its digest does not follow from its row and the digest before")
        if any(self.month(at) not in self.pruned for at in self.records):
            raise Wrong("a row begins or ends where there is no snapshot")
        heads = self.rows("head")
        if [(head["sequence"], data(head["digest"])) for head in heads] != [(len(self.entries), digest)]:
            raise Wrong("head does not say what the newest entry does")
        return len(self.entries), digest

    def month(self, at):
        return datetime.fromtimestamp(at // 1_000_000, timezone.utc).strftime("%Y-%m")

    def changed(self, row, place):
        """The body of a snapshot in the history."""
        records = sorted(self.records.pop(micros(row["observed_at"]), []))
        # What a visit to a pruned month changed is gone; and what the first ones after it say was gone, up to a complete
        # listing and statistics: only the hash is left.
        is_pruned = row["observed_at"][:7] in self.pruned
        if is_pruned or self.is_untold:
            self.is_untold = is_pruned or row["desktops_outcome"] != 2 or row["groups_outcome"] != 2
            return data(row["body_hash"])
        body = sha("deskledger.body.1", *(record[3] for record in records)) if records else None
        if body != data(row["body_hash"]):
            raise Wrong(f"{place}: what it changed does not give its body_hash")
        if row["changes"] != sum(record[2] in (b"S", b"A") for record in records):
            raise Wrong(f"{place}: changes is not the number of changes")
        return body

    def said(self, row, place):
        """The body of a late one; where its line was erased, as it is stored."""
        body, salt, month = data(row["body_hash"]), data(row["salt"]), row["observed_at"][:7]
        was_pruned = row["sequence"] < self.ever.get(month, 0)
        if was_pruned and ("spans", month) in self.gone:
            if salt is not None or row["line"] is not None:
                raise Wrong(f"{place}: its month is pruned, and it says something")
            return body
        if salt is None and was_pruned:
            return body
        if self.is_replaced("L", row["sequence"], salt, "deskledger.erased.late.1", optional(text, row["line"])):
            return body
        if salt is None or sha("deskledger.late.1", salt, text(row["line"])) != body:
            raise Wrong(f"{place}: salt and line do not give its body_hash")
        return body

    def replaced(self, row, place):
        """The body of an erasure: of each row, what it was committed to, and what stands there since."""
        late = {row["sequence"]: data(row["body_hash"]) for row in self.rows("late")}
        commitments = {"P": self.person, "N": self.label, "L": late}
        rows = [one for one in self.rows("erased") if one["sequence"] == row["sequence"]]
        rows.sort(key=lambda one: ("PNL".index(one["what"]), one["no"]))
        parts = [
            one["what"].encode() + commitments[one["what"]][one["no"]] + data(one["replacement"]) for one in rows
        ]
        body = sha("deskledger.erasure.1", *parts)
        if body != data(row["body_hash"]):
            raise Wrong(f"{place}: what it replaced does not give its body_hash")
        return body

    def own_row(self, row, changes):
        return [
            number(micros(row["observed_at"])),
            number(micros(row["finished_at"])),
            optional(number, micros(row["scheduled_at"])),
            number(row["max_gap"]),
            bytes([row["desktops_outcome"], row["groups_outcome"]]),
            optional(number, row["desktops_total"]),
            optional(number, row["desktops_recorded"]),
            optional(number, row["groups_recorded"]),
            number(changes),
            optional(text, row["error_code"]),
            optional(text, row["error_message"]),
        ]


def after(instants, at):
    """The first of the instants, which are sorted, after one."""
    place = bisect_right(instants, at)
    return instants[place] if place < len(instants) else None


def main():
    tables, code = defaultdict(list), 0
    for line in sys.stdin:
        row = json.loads(line)
        tables[row["table"]].append(row["row"])
    for source in sorted(tables["source"], key=lambda row: row["name"]):
        try:
            entries, digest = Source(tables, source).check()
            print(f"{source['name']}: ok, {entries} entries, digest {digest.hex()}")
        except (Wrong, AttributeError, KeyError, TypeError, ValueError) as wrong:
            # A number that is not registered, or a column that is not of its type.
            said = wrong if isinstance(wrong, Wrong) else f"the rows do not fit one another: {wrong!r}"
            print(f"{source['name']}: WRONG, {said}")
            code = 1
    return code


if __name__ == "__main__":
    sys.exit(main())
