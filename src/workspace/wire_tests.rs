//! Bodies in every form that a document shows or a server was seen to send.

use super::*;

fn desktops(json: &str) -> (Option<i64>, Vec<Option<Desktop>>) {
    let page: DesktopsPage = serde_json::from_str(json).unwrap();
    let records = page.desktops.unwrap_or_default();
    let mut common = Common::default();
    let desktops = records.into_iter().map(|record| record.into_desktop(&mut common));
    (page.total_count.0, desktops.collect())
}

fn only(json: &str) -> Desktop {
    desktops(json).1.into_iter().next().unwrap().unwrap()
}

#[test]
fn both_spellings_are_read_and_the_documented_one_wins() {
    let documented = only(
        r#"{"desktops":[{"desktop_id":"1","desktop_name":"A","connect_status":"CONNECTED",
            "attach_users":[{"id":"u","name":"n","type":"USER","user_group":"users"}]}]}"#,
    );
    let example = only(
        r#"{"desktops":[{"desktop_id":"1","desktop_name":"A","login_status":"CONNECTED",
            "attach_infos":[{"id":"u","name":"n","type":"USER","user_group":"users"}]}]}"#,
    );
    assert_eq!(documented, example);
    for both in [
        r#"{"desktops":[{"desktop_id":"1","connect_status":"A","login_status":"B"}]}"#,
        r#"{"desktops":[{"desktop_id":"1","login_status":"B","connect_status":"A"}]}"#,
    ] {
        assert_eq!(only(both).status.as_deref(), Some("A"));
    }
}

#[test]
fn nothing_is_required_and_nothing_unknown_disturbs() {
    let desktop = only(
        r#"{"more":[{}],"desktops":[{"desktop_id":"1","desktop_name":null,"x":{"y":[1]},
            "attach_users":null,"connect_status":null}],"total_count":null}"#,
    );
    assert_eq!((desktop.name, desktop.status), (None, None));
    assert_eq!(desktop.users, AttachUsers::default());
}

#[test]
fn a_record_without_an_id_is_none() {
    let (total, records) = desktops(
        r#"{"desktops":[{"desktop_name":"A"},{"desktop_id":null},{"desktop_id":""},null,7,
            [1],"x",{"desktop_id":"1"}],"total_count":8}"#,
    );
    assert_eq!(total, Some(8));
    assert_eq!(records.iter().flatten().count(), 1);
    assert_eq!(records.len(), 8);
}

#[test]
fn totals_come_as_numbers_and_as_texts() {
    for (text, total) in [
        ("7", Some(7)),
        (r#""7""#, Some(7)),
        ("7.0", Some(7)),
        ("-1", Some(-1)),
        ("null", None),
        ("7.5", None),
        (r#""seven""#, None),
        ("[]", None),
        ("9223372036854775808", None),
    ] {
        let read = desktops(&format!(r#"{{"desktops":[],"total_count":{text}}}"#)).0;
        assert_eq!(read, total, "{text}");
    }
    assert_eq!(desktops("{}").0, None);
}

#[test]
fn nul_becomes_its_symbol_everywhere() {
    let desktop = only(
        r#"{"desktops":[{"desktop_id":"a\u0000","desktop_name":"b\u0000","connect_status":"c\u0000",
            "attach_users":[{"name":"d\u0000"}]}]}"#,
    );
    assert_eq!(&*desktop.id, "a\u{2400}");
    assert_eq!(desktop.users.entries()[0].name.as_deref(), Some("d\u{2400}"));
}

#[test]
fn users_are_a_set_and_odd_entries_are_none() {
    let desktop = only(
        r#"{"desktops":[{"desktop_id":"1","attach_users":[{"name":"b","type":"USER"},null,3,
            {"type":"USER","name":"a"},{"name":"b","type":"USER"}]}]}"#,
    );
    let names: Vec<_> =
        desktop.users.entries().iter().map(|user| user.name.as_deref().unwrap()).collect();
    assert_eq!(names, ["a", "b"]);
    assert_eq!(
        only(r#"{"desktops":[{"desktop_id":"1","attach_users":{"a":1}}]}"#).users,
        AttachUsers::default()
    );
}

#[test]
fn counters_are_read_beyond_int32_and_below_zero() {
    let page: StatisticsPage = serde_json::from_str(
        r#"{"statics":[{"static_name":"G","running_num":4294967296,"stop_num":-1,
            "ready_num":"12","in_use_num":null,"unknown_num":"many","other":1}]}"#,
    )
    .unwrap();
    let group = GroupStatistics::from(page.statics.unwrap().remove(0));
    let counter =
        |name| group.counters[COUNTERS.iter().position(|counter| *counter == name).unwrap()];
    assert_eq!(group.name.as_deref(), Some("G"));
    assert_eq!(counter("running_num"), Some(4_294_967_296));
    assert_eq!(counter("stop_num"), Some(-1));
    assert_eq!(counter("ready_num"), Some(12));
    assert_eq!(counter("in_use_num"), None);
    assert_eq!(counter("unknown_num"), None);
    assert_eq!(counter("hibernate_num"), None);
}

#[test]
fn errors_are_read_in_all_their_shapes() {
    for (body, code, message) in [
        (r#"{"error_code":"WKS.0001","error_msg":"wrong"}"#, Some("WKS.0001"), Some("wrong")),
        (r#"{"errorCode":"X","errorMsg":"wrong"}"#, Some("X"), Some("wrong")),
        (r#"{"code":"X","message":"wrong"}"#, Some("X"), Some("wrong")),
        (
            r#"{"error":{"code":401,"message":"wrong","title":"Unauthorized"}}"#,
            Some("401"),
            Some("wrong"),
        ),
        (r#"{"error":{"code":"IAM.1","message":"wrong"}}"#, Some("IAM.1"), Some("wrong")),
        (r#"{"fault":{"error_code":"X","error_msg":"wrong"}}"#, Some("X"), Some("wrong")),
        (r#"{"error":"wrong"}"#, None, Some("wrong")),
        ("<html><body><h1>502</h1>Bad\nGateway</body></html>", None, Some("502 Bad Gateway")),
        ("", None, None),
        ("upstream gone", None, Some("upstream gone")),
    ] {
        let read = ErrorBody::parse(body.as_bytes());
        assert_eq!((read.code.as_deref(), read.message.as_deref()), (code, message), "{body}");
    }
    let long = ErrorBody::parse("x".repeat(10_000).as_bytes()).message.unwrap();
    assert_eq!(long.chars().count(), LONGEST_MESSAGE + 1);
}

#[test]
fn an_error_inside_a_good_answer_is_found() {
    let body = br#"{"error_code":"WKS.00010109","error_msg":"wrong","desktops":[]}"#;
    assert_eq!(ErrorBody::inside(body).unwrap().code.as_deref(), Some("WKS.00010109"));
    for fine in
        [r#"{"desktops":[],"total_count":0}"#, r#"{"error_code":null,"desktops":[]}"#, "<html>"]
    {
        assert_eq!(ErrorBody::inside(fine.as_bytes()), None, "{fine}");
    }
}
