//! The rules in force, how often each has matched, and the chance that some of them are left to.

use std::fmt;
use std::sync::Mutex;

use super::{Fault, On, Rule};
use crate::simulator::dice::Dice;

/// What a server asks at each request.
pub(in crate::simulator) struct Faults {
    seed: u64,
    rules: Mutex<Vec<Counted>>,
}

struct Counted {
    rule: Rule,
    matched: u32,
    done: u32,
    /// Each rule throws its own, so that another rule beside it changes nothing.
    dice: Dice,
}

impl Faults {
    pub fn new(seed: u64, rules: Vec<Rule>) -> Self {
        let faults = Self { seed, rules: Mutex::default() };
        faults.set(rules);
        faults
    }

    /// From now on these are in force, as if nothing had been asked yet.
    pub fn set(&self, rules: Vec<Rule>) {
        let counted = rules.into_iter().zip(0..).map(|(rule, number)| Counted {
            rule,
            matched: 0,
            done: 0,
            dice: Dice::new(self.seed, &[number]),
        });
        *self.lock() = counted.collect();
    }

    /// What goes wrong with a request.
    pub fn at(&self, on: On, offset: u32) -> Vec<Fault> {
        let mut faults = Vec::new();
        for counted in self.lock().iter_mut() {
            let rule = &counted.rule;
            let matches = (rule.on == On::Any || rule.on == on)
                && rule.offset.is_none_or(|only| only == offset);
            if !matches {
                continue;
            }
            counted.matched += 1;
            let due = counted.matched > rule.skip
                && (counted.matched - rule.skip).is_multiple_of(rule.every)
                && rule.times.is_none_or(|times| counted.done < times);
            if due && rule.rate.is_none_or(|rate| counted.dice.chance(rate)) {
                counted.done += 1;
                faults.push(rule.fault.clone());
            }
        }
        faults
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Counted>> {
        self.rules.lock().expect("nobody panics while holding it")
    }
}

impl fmt::Debug for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.lock().iter().map(|counted| &counted.rule)).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hits(faults: &Faults, requests: usize) -> Vec<bool> {
        (0..requests).map(|_| !faults.at(On::Listing, 0).is_empty()).collect()
    }

    #[test]
    fn a_rule_counts_only_what_it_is_about() {
        let rule = Rule::new(Fault::Drop).on(On::Listing).skip(1).every(2).times(2);
        let faults = Faults::new(1, vec![rule]);
        assert!(faults.at(On::Statistics, 0).is_empty());
        let expected = [false, false, true, false, true, false, false, false];
        assert_eq!(hits(&faults, 8), expected);
    }

    #[test]
    fn chance_keeps_its_share_and_is_the_seeds() {
        let rule = Rule::new(Fault::Drop).rate(0.02);
        let one = hits(&Faults::new(1, vec![rule.clone()]), 20_000);
        let count = one.iter().filter(|hit| **hit).count();
        assert!((300..500).contains(&count), "{count}");
        assert_eq!(one, hits(&Faults::new(1, vec![rule.clone()]), 20_000));
        assert_ne!(one, hits(&Faults::new(2, vec![rule.clone()]), 20_000));
        // A limit counts what happened, not what might have.
        let twice = hits(&Faults::new(1, vec![rule.times(2)]), 20_000);
        assert_eq!(twice.iter().filter(|hit| **hit).count(), 2);
        assert_eq!(twice.iter().position(|hit| *hit), one.iter().position(|hit| *hit));
    }
}
