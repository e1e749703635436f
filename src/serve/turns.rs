//! Whose turn it is. Each answer may keep a core of the database busy for as long as a statement may take, so there are few
//! places, and nobody gets all of them: see [`may`].

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::http::HeaderMap;
use tokio::sync::Notify;

/// How many questions are answered at once.
const PLACES: usize = 3;

/// How many of them one address has at most, and one and the same question from all addresses.
const MOST: usize = PLACES - 1;

/// How long a question waits for its turn.
const PATIENCE: Duration = Duration::from_secs(20);

/// Who is connected.
#[derive(Debug, Clone, Copy)]
pub(super) struct Peer(pub IpAddr);

impl Peer {
    /// Who asks: whoever is connected, or whom a proxy on this machine says to speak for.
    pub fn asking(self, headers: &HeaderMap) -> IpAddr {
        let last = headers.get_all("x-forwarded-for").iter().next_back();
        let last =
            last.and_then(|value| value.to_str().ok()?.rsplit(',').next()?.trim().parse().ok());
        last.filter(|_| self.0.is_loopback()).unwrap_or(self.0)
    }
}

/// Who asks what. Two questions are the same if they are about the same report, whatever its parameters.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Question {
    from: IpAddr,
    about: String,
}

#[derive(Debug, Default)]
struct State {
    next: u64,
    /// In the order in which they came.
    waiting: BTreeMap<u64, Question>,
    answered: Vec<Question>,
}

impl State {
    /// Whether it is the turn of this one, after all who came before it and may.
    fn is_turn(&self, number: u64) -> bool {
        let mut answered: Vec<&Question> = self.answered.iter().collect();
        for (waiting, question) in self.waiting.range(..=number) {
            let is_let = may(&answered, question);
            if *waiting == number {
                return is_let;
            }
            if is_let {
                answered.push(question);
            }
        }
        false
    }
}

/// Whether one more question may be answered beside these.
fn may(answered: &[&Question], question: &Question) -> bool {
    let count = |is: &dyn Fn(&Question) -> bool| answered.iter().filter(|other| is(other)).count();
    answered.len() < PLACES
        && !answered.contains(&question)
        && count(&|other| other.from == question.from) < MOST
        && count(&|other| other.about == question.about) < MOST
}

/// The places, and who waits for one.
#[derive(Debug, Default)]
pub(super) struct Turns {
    state: Mutex<State>,
    changed: Notify,
}

/// Somebody's place: waiting as long as the number is there, then answered.
#[derive(Debug)]
pub(super) struct Turn {
    turns: Arc<Turns>,
    question: Question,
    waiting: Option<u64>,
}

impl Turns {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for a turn. `None`: it took too long.
    pub async fn wait(self: &Arc<Self>, from: IpAddr, about: &str) -> Option<Turn> {
        let question = Question { from, about: about.to_owned() };
        let number = {
            let mut state = self.state();
            let number = state.next;
            state.next += 1;
            state.waiting.insert(number, question.clone());
            number
        };
        let mut turn = Turn { turns: Arc::clone(self), question, waiting: Some(number) };
        let served = async {
            loop {
                let mut changed = std::pin::pin!(self.changed.notified());
                // Before the look, so that no change between the two is missed.
                changed.as_mut().enable();
                if turn.take(number) {
                    return;
                }
                changed.await;
            }
        };
        tokio::time::timeout(PATIENCE, served).await.ok().map(|()| turn)
    }
}

impl Turn {
    fn take(&mut self, number: u64) -> bool {
        let mut state = self.turns.state();
        if !state.is_turn(number) {
            return false;
        }
        state.waiting.remove(&number);
        state.answered.push(self.question.clone());
        self.waiting = None;
        true
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        {
            let mut state = self.turns.state();
            match self.waiting {
                Some(number) => drop(state.waiting.remove(&number)),
                None => {
                    let place = state.answered.iter().position(|known| *known == self.question);
                    place.map(|at| state.answered.swap_remove(at));
                }
            }
        }
        self.turns.changed.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(last: u8) -> IpAddr {
        IpAddr::from([192, 0, 2, last])
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_has_all_places_and_the_first_who_may_comes_first() {
        let turns = Arc::new(Turns::default());
        let first = turns.wait(address(1), "outages").await.expect("a place");
        assert!(turns.wait(address(1), "outages").await.is_none(), "the same again");
        let second = turns.wait(address(1), "lingering").await.expect("another question");
        assert!(turns.wait(address(1), "coverage").await.is_none(), "a third of one address");
        let other = turns.wait(address(2), "outages").await.expect("another address");
        assert!(turns.wait(address(3), "").await.is_none(), "no place is left");
        drop(second);
        assert!(turns.wait(address(3), "outages").await.is_none(), "two are at it");
        let page = turns.wait(address(3), "").await.expect("another question");

        // Two wait; when a place is left, the first of them that may take it does.
        let wait = |from: u8, about: &'static str| {
            let turns = Arc::clone(&turns);
            tokio::spawn(async move { turns.wait(address(from), about).await })
        };
        let same = wait(3, "");
        tokio::task::yield_now().await;
        let later = wait(4, "coverage");
        tokio::task::yield_now().await;
        drop(first);
        let later = later.await.expect("no panic");
        assert!(later.is_some() && !same.is_finished(), "who may not is overtaken");
        drop(page);
        let same = same.await.expect("no panic");
        assert!(same.is_some(), "and gets its turn as soon as it may");
        drop((same, later, other));
        let state = turns.state();
        assert!(state.waiting.is_empty() && state.answered.is_empty(), "{state:?}");
    }

    #[test]
    fn only_a_proxy_on_this_machine_speaks_for_others() {
        let mut headers = HeaderMap::new();
        let asking = |peer: IpAddr, headers: &HeaderMap| Peer(peer).asking(headers);
        let here = IpAddr::from([127, 0, 0, 1]);
        assert_eq!(asking(here, &headers), here);
        headers.append("x-forwarded-for", "198.51.100.1".parse().expect("a header"));
        // What the browser made up comes first, what the proxy saw last.
        headers.append("x-forwarded-for", "10.0.0.1, 192.0.2.7".parse().expect("a header"));
        assert_eq!(asking(here, &headers), address(7));
        assert_eq!(asking(address(9), &headers), address(9));
        headers.append("x-forwarded-for", "unknown".parse().expect("a header"));
        assert_eq!(asking(here, &headers), here);
    }
}
