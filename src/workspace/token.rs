//! The token that a password was exchanged for: one for all requests of a source, renewed in time and
//! by one of them.

use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use tokio::time::{Instant, timeout_at};

use super::ApiError;
use super::iam::{Iam, Issued, Scope};
use super::run::Run;

/// A token is renewed when this much of its life is left, or a fifth of it where that is less.
const MARGIN: Duration = Duration::from_mins(5);
/// After a renewal that failed while the old token is still good.
const PAUSE: Duration = Duration::from_secs(30);

/// A token in use.
#[derive(Clone, Debug)]
pub(super) struct Token {
    pub issued: Issued,
    /// Which of the cell's tokens it is.
    generation: u64,
}

/// The token of one source; tokens are good in one project.
#[derive(Debug)]
pub(super) struct TokenCell {
    iam: Iam,
    scope: Scope,
    held: Mutex<Held>,
    /// Held by whoever exchanges.
    exchanging: tokio::sync::Mutex<()>,
}

#[derive(Debug, Default)]
struct Held {
    token: Option<Token>,
    generation: u64,
    /// How many exchanges have failed, and with what the last did.
    failures: u64,
    last_failure: Option<ApiError>,
    /// A renewal failed: no other is tried before this.
    paused_until: Option<Instant>,
}

/// What the cell has.
enum State {
    Good(Token),
    /// Still good, and time for another.
    Due(Token),
    None,
}

impl TokenCell {
    pub fn new(iam: Iam, scope: Scope) -> Self {
        Self { iam, scope, held: Mutex::default(), exchanging: tokio::sync::Mutex::new(()) }
    }

    /// A token that is good now. It is exchanged or renewed by the first who needs that; the others
    /// wait for it, or use the old one while that lasts.
    ///
    /// # Errors
    /// There is none, and no other was given; or the visit's time ended while waiting.
    pub async fn token(&self, run: &Run) -> Result<Token, ApiError> {
        let failures = self.lock().failures;
        match self.state() {
            State::Good(token) => Ok(token),
            State::Due(old) => {
                // Somebody else is at it already.
                let Ok(_exchanging) = self.exchanging.try_lock() else { return Ok(old) };
                if let State::Good(token) = self.state() {
                    return Ok(token);
                }
                match self.exchange(run).await {
                    Ok(token) => Ok(token),
                    Err(error) => {
                        tracing::warn!(
                            "could not renew the token, the old one is used as long as it is good: {error}"
                        );
                        self.lock().paused_until = Some(Instant::now() + PAUSE);
                        Ok(old)
                    }
                }
            }
            State::None => {
                let _exchanging = timeout_at(run.deadline(), self.exchanging.lock())
                    .await
                    .map_err(|_| run.out_of_time("auth/tokens"))?;
                if let State::Good(token) | State::Due(token) = self.state() {
                    return Ok(token);
                }
                {
                    // Whoever waited for an exchange that failed shares its failure: ten requests
                    // must not become ten exchanges one after the other.
                    let held = self.lock();
                    if held.failures != failures
                        && let Some(error) = &held.last_failure
                    {
                        return Err(error.clone());
                    }
                }
                self.exchange(run).await
            }
        }
    }

    /// Marks the token that was sent as dead. It may have been replaced meanwhile: many requests
    /// learn of one death.
    pub fn kill(&self, sent: &Token) {
        let mut held = self.lock();
        if held.token.as_ref().is_some_and(|token| token.generation == sent.generation) {
            held.token = None;
        }
    }

    async fn exchange(&self, run: &Run) -> Result<Token, ApiError> {
        let issued = self.iam.exchange(run, &self.scope).await;
        let mut held = self.lock();
        match issued {
            Ok(issued) => {
                held.generation += 1;
                let token = Token { issued, generation: held.generation };
                held.token = Some(token.clone());
                held.paused_until = None;
                Ok(token)
            }
            Err(error) => {
                held.failures += 1;
                held.last_failure = Some(error.clone());
                Err(error)
            }
        }
    }

    fn state(&self) -> State {
        let held = self.lock();
        let Some(token) = &held.token else { return State::None };
        if token.issued.is_over() {
            return State::None;
        }
        let is_due = token.issued.asked.elapsed()
            >= token.issued.life.saturating_sub(MARGIN.min(token.issued.life / 5));
        if is_due && held.paused_until.is_none_or(|until| until <= Instant::now()) {
            State::Due(token.clone())
        } else {
            State::Good(token.clone())
        }
    }

    fn lock(&self) -> MutexGuard<'_, Held> {
        self.held.lock().expect("nobody panics while holding it")
    }
}
