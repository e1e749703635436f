//! The verdicts, in words and as JSON.

use chrono::SecondsFormat;
use serde_json::{Value, json};

use super::pinned_since;
use crate::domain::audit::Fault;
use crate::domain::{Instant, harmless};
use crate::seal::{Head, PublicKey, Seal};
use crate::store::Verdict;

const WITHOUT_SEAL: &str = "Without a seal nobody can see from a ledger alone that its newest entries were cut off, or that all of \
     it was rewritten: `--seal` makes one, `--against` proves the history up to it.";

/// The verdicts in words.
pub(super) fn as_text(
    verdicts: &[Verdict],
    missing: &[String],
    seal: Option<&Seal>,
    trusted: Option<PublicKey>,
) -> String {
    let mut text = String::new();
    for verdict in verdicts {
        let name = harmless(&verdict.source.name);
        let summary = &verdict.summary;
        let range = match (summary.first_at, summary.newest_at) {
            (Some(first), Some(newest)) => format!(", {} to {}", instant(first), instant(newest)),
            _ => String::new(),
        };
        let erasures = match summary.erasures {
            0 => String::new(),
            1 => " (1 is the erasure of a person)".to_owned(),
            many => format!(" ({many} are erasures of persons)"),
        };
        let looked_at =
            format!("{} entries{erasures}, {} spans{range}", summary.entries, summary.spans);
        let line = match &verdict.fault {
            None => {
                format!("{name}: ok, {looked_at}\n  digest {}\n", hex::encode(summary.digest))
            }
            Some(wrong) => {
                let before = match wrong.at {
                    Some(_) if wrong.is_after => "right up to there",
                    Some(place) if place.sequence > summary.entries => "right before it",
                    _ => "looked at",
                };
                format!("{name}: WRONG, {}\n  {before}: {looked_at}\n", fault(wrong))
            }
        };
        text += &line;
        if let Some(from) = summary.detail_from {
            text += &format!(
                "  detail from {} on: of older months that are pruned only the chain and the visits were looked at\n",
                instant(from)
            );
        }
        if let Some((from, _)) = summary.headers_from {
            text += &format!(
                "  headers from {} on: of older visits that are pruned the digest was taken for granted, as the pruning left it\n",
                instant(from)
            );
        }
        if is_as_sealed(verdict, seal) {
            text += match (&verdict.fault, lost_since(verdict, seal)) {
                (None, false) => "  the history up to the seal is unchanged\n",
                (None, true) => {
                    "  the history up to the seal is unchanged, but for visits whose headers were pruned after it: what is left of them no \
                     digest before the pruning tells; the archive and a seal made since do\n"
                }
                (Some(_), _) => "  up to the seal every digest is as it was sealed\n",
            };
        }
        for (column, value) in pinned_since(verdict, seal) {
            let value = harmless(value);
            text += &format!("  note: since the seal `{column}` was set to `{value}`\n");
        }
    }
    for name in missing {
        text += &format!("{}: WRONG, sealed, and not in the ledger\n", harmless(name));
    }
    if verdicts.is_empty() && missing.is_empty() {
        text += "No source is recorded yet.\n";
    }
    text += &match seal {
        None => format!("{WITHOUT_SEAL}\n"),
        Some(seal) => {
            let trust = match trusted {
                Some(_) => "the key that was asked for".to_owned(),
                None => format!(
                    "the key {}, which the seal itself names: it proves as much as the place is safe where \
                     the seal was kept (`--public-key` asks for a key)",
                    seal.public_key
                ),
            };
            format!("The seal of {} is signed with {trust}.\n", instant(seal.made_at))
        }
    };
    text
}

/// Where the seal says that the source's chain stood.
fn sealed_head<'a>(verdict: &Verdict, seal: Option<&'a Seal>) -> Option<&'a Head> {
    seal?.heads.iter().find(|head| head.source == verdict.source.name)
}

/// Whether the chain goes through the seal, with nothing wrong up to there.
fn is_as_sealed(verdict: &Verdict, seal: Option<&Seal>) -> bool {
    let head = sealed_head(verdict, seal);
    let is_later = |fault: &Fault| match (fault.at, head) {
        (Some(place), Some(head)) => {
            place.sequence > head.sequence || (fault.is_after && place.sequence == head.sequence)
        }
        _ => false,
    };
    verdict.summary.passed_checkpoint && verdict.fault.as_ref().is_none_or(is_later)
}

/// Whether headers of before the seal were pruned after it: then it says nothing of what is left of them.
fn lost_since(verdict: &Verdict, seal: Option<&Seal>) -> bool {
    let head = sealed_head(verdict, seal);
    let pruning = verdict.summary.headers_from.map(|(_, entry)| entry);
    head.zip(pruning).is_some_and(|(head, pruning)| pruning > head.sequence)
}

/// The verdicts as one JSON object.
pub(super) fn as_json(verdicts: &[Verdict], missing: &[String], seal: Option<&Seal>) -> String {
    let rows = verdicts.iter().map(|verdict| {
        let summary = &verdict.summary;
        json!({
            "source": verdict.source.name,
            "ok": verdict.fault.is_none(),
            "entries": summary.entries,
            "erasures": summary.erasures,
            "spans": summary.spans,
            "first_at": summary.first_at.map(instant),
            "newest_at": summary.newest_at.map(instant),
            "detail_from": summary.detail_from.map(instant),
            "headers_from": summary.headers_from.map(|(from, _)| instant(from)),
            "digest": hex::encode(summary.digest),
            "set_since_seal": pinned_since(verdict, seal)
                .into_iter()
                .map(|(column, value)| (column.to_owned(), Value::from(value)))
                .collect::<serde_json::Map<_, _>>(),
            "seal_holds": seal.map(|_| is_as_sealed(verdict, seal)),
            "headers_pruned_since_seal": seal.map(|_| lost_since(verdict, seal)),
            "wrong": verdict.fault.as_ref().map(wrong),
        })
    });
    let is_ok = missing.is_empty() && verdicts.iter().all(|verdict| verdict.fault.is_none());
    let result = json!({
        "ok": is_ok,
        "sources": rows.collect::<Vec<_>>(),
        "missing_sources": missing,
        "seal": seal.map(|seal| json!({
            "made_at": instant(seal.made_at),
            "public_key": seal.public_key.to_string(),
        })),
    });
    format!("{result:#}\n")
}

fn wrong(fault: &Fault) -> Value {
    let wrong = &fault.wrong;
    json!({
        "snapshot_id": fault.at.and_then(|place| place.snapshot_id),
        "sequence": fault.at.map(|place| place.sequence),
        "observed_at": fault.at.map(|place| instant(place.observed_at)),
        "missing_after_it": fault.is_after,
        "what": wrong.what,
        "expected": wrong.expected,
        "found": wrong.found,
    })
}

/// Where something is wrong, and what.
pub(super) fn fault(fault: &Fault) -> String {
    let wrong = harmless(&fault.wrong.to_string());
    match fault.at {
        None => wrong,
        Some(place) => format!(
            "{}{} of {} (entry {}): {wrong}",
            if fault.is_after { "after " } else { "" },
            match place.snapshot_id {
                Some(id) => format!("snapshot {id}"),
                None if place.is_erasure => "erasure".to_owned(),
                None => "the visit, its header pruned,".to_owned(),
            },
            instant(place.observed_at),
            place.sequence
        ),
    }
}

/// An instant, in full.
pub(super) fn instant(at: Instant) -> String {
    at.to_rfc3339_opts(SecondsFormat::AutoSi, true)
}
