//! What each rule finds, as tables of `check(path, source, expect)`; `expect` is `line rule` for each finding.

use std::collections::BTreeMap;

use super::{check as check_tree, check_file};

#[track_caller]
fn check(path: &str, source: &str, expect: &[&str]) {
    let mut found = check_file(path, source);
    found.sort();
    let found: Vec<String> = found.iter().map(|finding| format!("{} {}", finding.line, finding.rule)).collect();
    assert_eq!(found, expect, "{path}:\n{source}");
}

/// Checks a Rust file of a crate without arrows; the module doc is added, so code begins on line 2.
#[track_caller]
fn check_rust(code: &str, expect: &[&str]) {
    check("xtask/src/x.rs", &format!("//! Doc.\n{code}"), expect);
}

fn function(lines: usize) -> String {
    format!("fn f() {{\n{}}}\n", "    g();\n".repeat(lines - 2))
}

#[test]
fn a_function_fits_on_a_screen() {
    check_rust(&function(70), &[]);
    check_rust(&function(71), &["2 function-size"]);
    check_rust(&format!("impl X {{\n/// Doc.\n#[inline]\npub {}}}", function(71)), &["5 function-size"]);
    check_rust(&format!("trait X {{\nfn g();\n{}}}", function(71)), &["4 function-size"]);
    check_rust(&format!("#[cfg(test)]\nmod tests {{\n#[test]\n{}}}", function(71)), &["5 function-size"]);
    check_rust(&format!("const TABLE: &[u8] = &[\n{}];", "1,\n".repeat(100)), &[]);
}

#[test]
fn a_file_has_500_lines_at_most() {
    check("crates/cli/src/x.rs", &format!("//! Doc.\n{}", "// x\n".repeat(499)), &[]);
    check("crates/cli/src/x.rs", &format!("//! Doc.\n{}", "// x\n".repeat(500)), &["501 file-size"]);
    check("tests/e2e/x.test.mjs", &"f();\n".repeat(501), &["501 file-size"]);
    check("docs/x.md", &"x\n".repeat(501), &[]);
}

#[test]
fn a_file_says_what_it_is_for() {
    check("crates/hub/src/x.rs", "//! Doc.\n", &[]);
    check("crates/hub/src/x.rs", "", &["1 module-doc"]);
    check("crates/hub/src/x.rs", "use a::b;\n//! Late.\n", &["1 module-doc", "2 syntax"]);
    check("crates/hub/src/x.rs", "fn f( {\n", &["1 syntax"]);
}

#[test]
fn names_say_something() {
    check_rust("struct TokenManager;", &["2 empty-name"]);
    check_rust("mod string_utils;", &["2 empty-name"]);
    check_rust("fn session_factory() {}", &["2 empty-name"]);
    check_rust("const HELPER: u8 = 1;", &["2 empty-name"]);
    check_rust("fn utilization() {}\nstruct Refactory;", &[]);
    check_rust("use redis::aio::ConnectionManager;\nfn f(_: ConnectionManager) {}", &[]);
    check("crates/server/src/utils/mod.rs", "//! Doc.\n", &["1 empty-name"]);
    check("tests/e2e/helpers.mjs", "", &["1 empty-name"]);
    check("clients/x.ts", "export class RoomManager {}\nconst { a } = b;", &["1 empty-name"]);
    check("clients/x.ts", "// The class Manager\nimport type Manager from 'x';", &[]);
    check("clients/x.ts", "const socketFactory = () => {};", &["1 empty-name"]);
    check("clients/x.ts", "test('x', () => {\n  const manager = new Manager(url);\n});", &[]);
}

#[test]
fn work_is_finished_and_tests_run() {
    check_rust("fn f() { todo!() }", &["2 unfinished"]);
    check_rust("fn f() {\n    g(|| unimplemented!(\"x\"));\n    dbg!(1);\n}", &["3 unfinished", "4 unfinished"]);
    check_rust("fn f() -> &'static str { \"todo!()\" } // todo!()", &[]);
    check_rust("#[test]\n#[ignore = \"slow\"]\nfn f() {}", &["3 silent-test"]);
    check_rust("#[cfg_attr(windows, ignore)]\nfn f() {}", &["2 silent-test"]);
    check_rust("fn f() { [1].iter().skip(1); }", &[]);
    check("tests/e2e/x.test.mjs", "test.only('x');\nt.skip('y');\n", &["1 silent-test", "2 silent-test"]);
}

#[test]
fn crates_depend_along_the_arrows() {
    let name = |crate_name: &str| format!("crates/{crate_name}/Cargo.toml");
    check(&name("hub"), "[dependencies]\noyez-protocol.workspace = true\ntokio = \"1\"\n", &[]);
    check(&name("hub"), "[dependencies]\noyez-server.workspace = true\n", &["2 arrow"]);
    check(&name("server"), "[dependencies]\noyez-backends = { workspace = true }\n", &["2 arrow"]);
    check(&name("backends"), "[dev-dependencies]\noyez-server.workspace = true\n", &["2 arrow"]);
    check(&name("protocol"), "[dependencies]\nbytes = \"1\"\ntokio = \"1\"\n", &["3 arrow"]);
    check(&name("protocol"), "[target.'cfg(unix)'.dependencies]\ntracing = \"1\"\n", &["2 arrow"]);
    check(&name("protocol"), "[dev-dependencies]\ntokio = \"1\"\n", &[]);
    check(&name("common"), "", &["1 arrow"]);
    check("xtask/Cargo.toml", "[dependencies]\ntokio = \"1\"\n", &[]);
}

#[test]
fn code_names_only_what_its_crate_may_know() {
    let hub = |code: &str, expect: &[&str]| check("crates/hub/src/x.rs", &format!("//! Doc.\n{code}"), expect);
    hub("use oyez_protocol::message::Args;", &[]);
    hub("use oyez_protocol::{message::Args,\n    socketio::Packet};", &["3 arrow"]);
    hub("use oyez_protocol::native;", &["2 arrow"]);
    hub("fn f() {\n    oyez_protocol::engineio::decode();\n}", &["3 arrow"]);
    hub("use std::{collections::BTreeMap, env};", &["2 arrow"]);
    hub("fn f() { g!(\"{}\", ::std::env::var(\"X\")); }", &["2 arrow"]);
    hub("const V: &str = env!(\"CARGO_PKG_VERSION\");", &[]);
    hub("#[cfg(test)]\nmod tests {\n    use std::fs;\n}\nuse std::fs;", &["6 arrow"]);
    hub("#[cfg(not(test))]\nuse std::fs;", &["3 arrow"]);
    hub("#[cfg(test)]\nmod tests;\nuse std::fs;", &["4 arrow"]);
    check("crates/hub/tests/x.rs", "//! Doc.\nuse std::fs;", &[]);
    check("crates/hub/benches/x.rs", "//! Doc.\nuse std::fs;", &[]);
    check("crates/hub/src/policy/tests.rs", "//! Doc.\nuse std::fs;", &[]);
    check("crates/cli/src/main.rs", "//! Doc.\nuse std::{env, fs};", &[]);
    check("crates/protocol/src/x.rs", "//! Doc.\nuse std::time::{Duration, Instant};", &["2 arrow"]);
}

#[track_caller]
fn check_pages(pages: &[(&str, &str)], expect: &[&str]) {
    let tree: BTreeMap<String, String> = pages.iter().map(|(path, text)| ((*path).into(), (*text).into())).collect();
    let found: Vec<String> = check_tree(&tree).iter().map(|f| format!("{}:{} {}", f.path, f.line, f.rule)).collect();
    assert_eq!(found, expect, "{pages:?}");
}

#[test]
fn every_page_is_linked_and_every_link_leads_somewhere() {
    check_pages(&[("README.md", "[a](docs/a.md#x)"), ("docs/a.md", "[b](sub/b.md)"), ("docs/sub/b.md", "")], &[]);
    check_pages(&[("README.md", "see docs/a.md"), ("docs/a.md", "[me](a.md)")], &["docs/a.md:1 unlinked-page"]);
    check_pages(&[("README.md", "\n[a](docs/a.md)")], &["README.md:2 dead-link"]);
    check_pages(&[("README.md", "[a](examples)\n[o](https://example.com/x)\n[h](#h)"), ("examples/x.txt", "")], &[]);
    check_pages(&[("README.md", "```\n[a](nowhere.md)\n```\n")], &[]);
    check_pages(&[("docs/a.md", "[up](../README.md)"), ("README.md", "![p](docs/a.md \"title\")")], &[]);
}

#[test]
fn every_dependency_is_explained() {
    let manifest = "[workspace.dependencies]\noyez-hub = { path = \"crates/hub\" }\nbytes = \"1\"\nslab = \"0.4\"\n";
    let member = "[dependencies]\nbytes.workspace = true\nsyn = \"3\"\n";
    let page = ("docs/dependencies.md", "[up](../README.md)\n| `bytes` | shared buffers |\n");
    check_pages(
        &[("Cargo.toml", manifest), ("xtask/Cargo.toml", member), page, ("README.md", "[d](docs/dependencies.md)")],
        &["Cargo.toml:4 unexplained-dependency", "xtask/Cargo.toml:3 unexplained-dependency"],
    );
}

#[test]
fn every_threat_names_its_test() {
    let page =
        |row: &str| format!("[up](../README.md)\n\n## Threats\n\n| threat | met by | shown by |\n|---|---|---|\n{row}");
    let check = |row: &str, expect: &[&str]| {
        let test = ("tests/x.mjs", "test('holds | against', f);\n");
        check_pages(
            &[("README.md", "[s](docs/security-model.md)"), ("docs/security-model.md", &page(row)), test],
            expect,
        );
    };
    check("| a | b | [x.mjs](../tests/x.mjs): holds \\| against |\n", &[]);
    check("| a | b | [x.mjs](../tests/x.mjs): fails |\n", &["docs/security-model.md:7 unproven-threat"]);
    check("| a | b | nobody |\n", &["docs/security-model.md:7 unproven-threat"]);
}
