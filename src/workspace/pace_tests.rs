use std::sync::Arc;

use proptest::prelude::*;

use super::*;

/// So long that it never matters.
fn far() -> Instant {
    Instant::now() + Duration::from_hours(1000)
}

/// Runs with a clock that jumps to whatever is waited for next.
fn with_fake_clock<T>(test: impl Future<Output = T>) -> T {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    builder.enable_time().start_paused(true).build().unwrap().block_on(test)
}

/// Requests that come at these distances (ms) from each other; when each was sent (ms), in the order of
/// their coming.
fn sent_at(limit: u32, window: Duration, gaps: &[u64]) -> Vec<(u64, u64)> {
    with_fake_clock(async {
        let pace = Arc::new(Pace::new(limit, window));
        let begun = Instant::now();
        let mut waiting = Vec::new();
        for gap in gaps {
            tokio::time::sleep(Duration::from_millis(*gap)).await;
            let came = begun.elapsed();
            let pace = Arc::clone(&pace);
            waiting.push(tokio::spawn(async move {
                pace.turn(far()).await.unwrap();
                (came, begun.elapsed())
            }));
            // It is in the queue before the next one comes.
            tokio::task::yield_now().await;
        }
        let mut sent = Vec::new();
        for one in waiting {
            let (came, went) = one.await.unwrap();
            sent.push((millis(came), millis(went)));
        }
        sent
    })
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn no_window_ever_holds_more_and_nobody_waits_without_need(
        limit in 1_u32..12,
        window in 10_u64..2_000,
        gaps in prop::collection::vec(prop_oneof![3 => Just(0_u64), 2 => 0_u64..50, 1 => 0_u64..3_000], 0..60),
    ) {
        let sent = sent_at(limit, Duration::from_millis(window), &gaps);
        let limit = limit as usize;
        for (at, (came, went)) in sent.iter().enumerate() {
            // First come, first served.
            prop_assert!(at == 0 || sent[at - 1].1 <= *went, "{sent:?}");
            // As soon as the law allows, and never before: worked out from the sends alone.
            let allowed = at.checked_sub(limit).map_or(0, |back| sent[back].1 + window);
            let turn = allowed.max(*came).max(if at == 0 { 0 } else { sent[at - 1].1 });
            prop_assert!((turn..=turn + 1).contains(went), "{at} waited from {came} to {went}, not {turn}: {sent:?}");
        }
        for (from, (_, begin)) in sent.iter().enumerate() {
            let inside = sent[from..].iter().filter(|(_, went)| *went < begin + window).count();
            prop_assert!(inside <= limit, "{inside} in one window: {sent:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_turn_that_comes_too_late_is_refused_at_once_and_not_taken() {
    let pace = Pace::new(2, MINUTE);
    for _ in 0..2 {
        pace.turn(far()).await.unwrap();
    }
    let begun = Instant::now();
    let soon = begun + Duration::from_secs(59);
    assert_eq!(pace.turn(soon).await, Err(TooLate { limit: 2 }));
    assert_eq!(begun.elapsed(), Duration::ZERO);
    pace.turn(far()).await.unwrap();
    pace.turn(far()).await.unwrap();
    assert!(begun.elapsed() < Duration::from_secs(61));
}

#[tokio::test(start_paused = true)]
async fn whoever_gives_up_waiting_leaves_the_place_to_the_next() {
    let pace = Pace::new(1, MINUTE);
    pace.turn(far()).await.unwrap();
    let begun = Instant::now();
    let impatient = tokio::time::timeout(Duration::from_secs(5), pace.turn(far()));
    let (gone, stayed) = tokio::join!(impatient, pace.turn(far()));
    assert!(gone.is_err() && stayed.is_ok());
    assert!(begun.elapsed() < Duration::from_secs(61));
}

#[tokio::test(start_paused = true)]
async fn the_smallest_limit_of_those_who_share_it_holds() {
    let pace = Pace::new(10, MINUTE);
    for _ in 0..5 {
        pace.turn(far()).await.unwrap();
    }
    pace.hold_to(3);
    pace.hold_to(8);
    assert_eq!(pace.limit(), 3);
    let begun = Instant::now();
    pace.turn(far()).await.unwrap();
    assert!(begun.elapsed() >= MINUTE);
}
