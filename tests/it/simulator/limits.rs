//! The documented limits, the rate, the locked key, and who may ask the identity service.

use deskledger::simulator::TotalCounts;

use super::*;

#[tokio::test]
async fn what_is_beyond_a_documented_limit_is_refused_and_counted() {
    let (mut config, _) = config(450);
    config.max_limit = 1000;
    config.max_offset = 3000;
    config.max_url = 2000;
    let simulator = Simulator::start(config).await.unwrap();
    let names = |count: usize, length: usize| {
        let names = (0..count).map(|at| format!("user_names={at:0>length$}"));
        format!("{LISTING}?{}", names.collect::<Vec<_>>().join("&"))
    };
    let exact = format!("{LISTING}?user_names=");
    let exact = format!("{exact}{}", "a".repeat(2000 - exact.len()));
    let mut violations = 0;
    for (target, status, code) in [
        (format!("{LISTING}?limit=1000&offset=3000"), 200, ""),
        (format!("{LISTING}?limit=1001"), 400, "WKS.0001"),
        (format!("{LISTING}?offset=3001"), 400, "WKS.0001"),
        (format!("{LISTING}?limit=-1"), 400, "WKS.0001"),
        (format!("{LISTING}?offset=x"), 400, "WKS.0001"),
        (names(100, 2), 200, ""),
        (names(101, 2), 400, "WKS.0001"),
        // Longer than the documents say: real names are.
        (names(1, 64), 200, ""),
        (exact.clone(), 200, ""),
        (format!("{exact}a"), 414, "APIGW.0201"),
    ] {
        let reply = get(&simulator, &target).await;
        assert_eq!((reply.status, reply.refusal().1.as_str()), (status, code), "{target}");
        violations += u64::from(status != 200);
        assert_eq!(simulator.tally().violations, violations, "{target}");
    }
    let long = get(&simulator, &format!("{exact}a")).await;
    assert_eq!(long.json()["request_id"], long.header("X-Request-Id").unwrap());
}

#[tokio::test]
async fn whoever_asks_too_often_waits_for_the_window_to_slide() {
    let (mut config, _) = config(50);
    config.rate_limit = Some((3, Duration::from_secs(2)));
    let simulator = Simulator::start(config).await.unwrap();
    let begun = Instant::now();
    for target in [LISTING, STATISTICS, LISTING] {
        assert_eq!(get(&simulator, target).await.status, 200);
    }
    let refused = get(&simulator, STATISTICS).await.refusal();
    assert!(begun.elapsed() < Duration::from_secs(2), "too slow a machine to tell");
    assert_eq!((refused.0, refused.1.as_str()), (429, "APIGW.0308"));
    assert!(refused.2.ends_with("policy user over ratelimit,limit:3,time:2 second"), "{refused:?}");
    // Another user, and the identity service, are another matter.
    let own = signed(&simulator, LISTING, "test-secret-key", start(), TimeDelta::zero()).await;
    assert_eq!(own.status, 200);
    token(&simulator).await;
    assert_eq!(get(&simulator, PROJECTS).await.status, 200);
    tokio::time::sleep(Duration::from_millis(2100)).await;
    assert_eq!(get(&simulator, LISTING).await.status, 200);
    let tally = simulator.tally();
    assert_eq!((tally.requests, tally.throttled, tally.arrivals.len()), (8, 1, 6));
    assert_eq!((tally.listing, tally.statistics, tally.projects), (4, 2, 1));
    assert!(tally.most_within(Duration::from_secs(2)) >= 4);
    assert!(tally.most_within(Duration::from_secs(3600)) == 6);
}

#[tokio::test]
async fn a_key_that_fails_too_often_is_locked_for_five_minutes() {
    let (config, hands) = config(50);
    let simulator = Simulator::start(config).await.unwrap();
    let (right, none) = ("test-secret-key", TimeDelta::zero());
    let asked = async |secret: &str, off| {
        let reply = signed(&simulator, LISTING, secret, hands.now(), off).await;
        (reply.status, reply.refusal().2)
    };
    // A success in between forgives.
    for _ in 0..2 {
        for _ in 0..5 {
            assert_eq!(asked("wrong", none).await.0, 401);
        }
        assert_eq!(asked(right, none).await.0, 200);
    }
    // A date that is off fails as well as a secret that is wrong.
    for off in [none, TimeDelta::minutes(16), TimeDelta::minutes(-16)] {
        for secret in ["wrong", if off == none { "wrong too" } else { right }] {
            let (status, message) = asked(secret, off).await;
            assert!(status == 401 && message.contains("verify aksk"), "{message}");
        }
    }
    let locked = (
        401,
        "Incorrect IAM authentication information: AK access failed to reach the limit,forbidden"
            .to_owned(),
    );
    assert_eq!(asked(right, none).await, locked);
    assert_eq!(simulator.tally().locks, 1);
    assert_eq!(get(&simulator, LISTING).await.status, 200, "the token is another's");
    hands.advance(TimeDelta::seconds(299));
    assert_eq!(asked(right, none).await, locked);
    hands.advance(TimeDelta::seconds(1));
    assert_eq!(asked(right, none).await.0, 200);
    assert_eq!(simulator.tally().locks, 1);
}

#[tokio::test]
async fn the_identity_service_knows_who_asks_for_projects() {
    for (count, expected) in [(0, 0), (1, 1), (2, 2)] {
        let (mut config, hands) = config(50);
        config.projects = count;
        let simulator = Simulator::start(config).await.unwrap();
        let at = hands.now();
        let none = TimeDelta::zero();
        let reply = signed(&simulator, PROJECTS, "test-secret-key", at, none).await;
        let found = reply.json()["projects"].as_array().unwrap().clone();
        assert_eq!(found.len(), expected);
        assert!(found.iter().all(|project| project["name"] == "ap-southeast-3"));
        assert_eq!(found.last().is_some_and(|last| last["id"] == PROJECT), count > 0);
        assert_eq!(found.iter().filter(|one| one["id"] == PROJECT).count(), expected.min(1));
        assert_eq!(get(&simulator, PROJECTS).await.json(), reply.json());
        let elsewhere = get(&simulator, "/v3/projects?name=elsewhere").await.json();
        assert_eq!(elsewhere["projects"], serde_json::json!([]));
        for refused in [
            ask(&simulator, "GET", PROJECTS, "", "").await,
            ask(&simulator, "GET", PROJECTS, "X-Auth-Token: wrong\r\n", "").await,
            signed(&simulator, PROJECTS, "wrong", at, none).await,
        ] {
            assert_eq!((refused.status, refused.refusal().1.as_str()), (401, "APIGW.0301"));
        }
    }
}

#[tokio::test]
async fn totals_with_filters_count_what_they_are_told_to() {
    for (counts, by_status) in [(TotalCounts::Matching, None), (TotalCounts::Everything, Some(450))]
    {
        let (mut config, _) = config(450);
        config.total_counts = counts;
        let simulator = Simulator::start(config).await.unwrap();
        let page = get(&simulator, &format!("{LISTING}?connect_status=CONNECTED&limit=2000")).await;
        let page = page.json();
        let matching = page["desktops"].as_array().unwrap().len();
        assert!(matching > 50 && matching < 400, "{matching}");
        assert_eq!(page["total_count"], by_status.unwrap_or(matching));
        assert_eq!(get(&simulator, LISTING).await.json()["total_count"], 450);
    }
}
