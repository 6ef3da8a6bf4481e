//! The table of codes in `docs/protocol.md` is the one in `code::TABLE`, row by row.

use oyez_protocol::code::{Row, TABLE};

const PAGE: &str = include_str!("../../../docs/protocol.md");

/// The line above the rows, as the page has it.
const HEAD: &str = "| number | name | message | HTTP | close | try again |\n|---|---|---|---|---|---|\n";

fn line(row: &Row) -> String {
    let again = if row.reconnect { "yes" } else { "no" };
    format!("| {} | `{}` | {} | {} | {} | {again} |", row.number, row.name, row.message, row.http, row.close)
}

#[test]
fn the_page_has_every_code_and_no_other() {
    let (_, rows) = PAGE.split_once(HEAD).expect("docs/protocol.md has no table of codes");
    let documented: Vec<&str> = rows.lines().take_while(|line| line.starts_with('|')).collect();
    let expected: Vec<String> = TABLE.iter().map(line).collect();
    assert_eq!(documented, expected, "docs/protocol.md should have:\n{}", expected.join("\n"));
}
