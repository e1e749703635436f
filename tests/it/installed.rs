//! What an installed program brings: completions, pages of the manual.

use std::process::Command;

use crate::support::program::Home;

#[tokio::test]
async fn shells_complete_commands_reports_and_parameters() {
    let home = Home::on(String::new());
    let script = home.run(&["completions", "bash"]).await.expect(0).out;
    let complete = |words: &[&str]| {
        let last = words.len() - 1;
        let words = format!(
            "{script}\nCOMP_WORDS=({}); COMP_CWORD={last}; _deskledger deskledger '{}' '{}'; echo \"${{COMPREPLY[@]}}\"",
            words.join(" "),
            words[last],
            words[last - 1]
        );
        let done = Command::new("bash").args(["--norc", "-c", &words]).output().unwrap();
        String::from_utf8(done.stdout).unwrap().trim().to_owned()
    };
    assert_eq!(complete(&["deskledger", "comp"]), "compact completions");
    assert_eq!(complete(&["deskledger", "report", "user-h"]), "user-history user-hours");
    assert_eq!(complete(&["deskledger", "report", "outages", "--sh"]), "--show-sql --share");
    for shell in ["zsh", "fish"] {
        let script = home.run(&["completions", shell]).await.expect(0).out;
        assert!(script.contains("metrics-listen") && script.contains("user-history"), "{shell}");
    }
    home.run(&["man", "--output", "pages/man1"]).await.expect(0);
    let page = std::fs::read_to_string(home.path().join("pages/man1/deskledger-report-outages.1"));
    assert_eq!(home.run(&["man", "report", "outages"]).await.expect(0).out, page.unwrap());
    let refused = home.run(&["man", "colect"]).await.expect(2);
    assert_eq!(
        refused.errors(),
        ["error: no page `deskledger-colect`; did you mean `deskledger-collect`?"]
    );
}
