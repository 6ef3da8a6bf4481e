//! Words that do not belong into the code: names that say nothing, unfinished work, tests that do not run.

use proc_macro2::{TokenStream, TokenTree};

use super::Finding;
use super::tokens::walk;

/// Name parts that hide what a thing is for. Compared word by word, so `utilization` is fine.
const EMPTY_WORDS: &[&str] =
    &["manager", "managers", "helper", "helpers", "util", "utils", "utility", "utilities", "factory", "factories"];
/// After these a Rust name is declared.
const DECLARES: &[&str] = &["struct", "enum", "trait", "type", "fn", "mod", "union", "const", "static"];
/// After these a JavaScript or TypeScript name is declared; variables count where the line is not indented, since a
/// local one may hold what somebody else calls a `Manager`.
const SCRIPT_DECLARES: &[&str] = &["class", "function", "interface", "type", "enum"];
const SCRIPT_VARIABLES: &[&str] = &["const", "let", "var"];
/// Lines that begin so declare nothing: comments, and what others named.
const NO_DECLARATION: &[&str] = &["//", "/*", "*", "import "];
/// Macros of unfinished work.
const UNFINISHED: &[&str] = &["todo", "unimplemented", "dbg"];
/// Calls that keep other tests, or this one, from running.
const SILENCERS: &[&str] = &[".only(", ".skip("];

/// Checks what a file and its folders are called.
pub(super) fn file(path: &str) -> Vec<Finding> {
    path.split('/')
        .filter_map(|part| empty_word(part.split('.').next().unwrap_or(part)))
        .map(|word| named(path, 1, &word))
        .collect()
}

/// Checks the words of a Rust file.
pub(super) fn rust(path: &str, tokens: &TokenStream) -> Vec<Finding> {
    let mut findings = Vec::new();
    walk(tokens, &mut |rest| match rest {
        [TokenTree::Ident(keyword), TokenTree::Ident(name), ..] if DECLARES.iter().any(|word| keyword == word) => {
            findings.extend(empty_word(&name.to_string()).map(|word| named(path, name.span().start().line, &word)));
        }
        [TokenTree::Ident(name), TokenTree::Punct(bang), ..]
            if bang.as_char() == '!' && UNFINISHED.iter().any(|word| name == word) =>
        {
            let remedy = format!("`{name}!`: finish it or take it out");
            findings.push(Finding::new(path, name.span().start().line, "unfinished", remedy));
        }
        [TokenTree::Punct(hash), TokenTree::Group(attribute), ..]
            if hash.as_char() == '#' && ignores(&attribute.stream()) =>
        {
            let remedy = "`#[ignore]`: make the test run or delete it";
            findings.push(Finding::new(path, hash.span().start().line, "silent-test", remedy));
        }
        _ => {}
    });
    findings
}

/// Checks the words of a JavaScript or TypeScript file, line by line.
pub(super) fn script(path: &str, text: &str) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (line, words) in (1..).zip(text.lines()) {
        for silencer in SILENCERS.iter().filter(|silencer| words.contains(**silencer)) {
            let remedy = format!("`{silencer}`: every test runs, or is deleted");
            findings.push(Finding::new(path, line, "silent-test", remedy));
        }
        if NO_DECLARATION.iter().any(|start| words.trim_start().starts_with(start)) {
            continue;
        }
        let outer = !words.starts_with(char::is_whitespace);
        let declares = |word| SCRIPT_DECLARES.contains(word) || outer && SCRIPT_VARIABLES.contains(word);
        let words: Vec<&str> = words.split_whitespace().collect();
        for pair in words.windows(2).filter(|pair| declares(&pair[0])) {
            let name = pair[1].split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap_or_default();
            findings.extend(empty_word(name).map(|word| named(path, line, &word)));
        }
    }
    findings
}

fn named(path: &str, line: usize, word: &str) -> Finding {
    Finding::new(path, line, "empty-name", format!("`{word}` says nothing: name what it does"))
}

/// The first empty word of a name in any of the usual cases (`TokenManager`, `token_manager`, `tokenManager`).
fn empty_word(name: &str) -> Option<String> {
    let mut words = vec![String::new()];
    for c in name.chars() {
        if !c.is_alphanumeric() || c.is_uppercase() && name.contains(char::is_lowercase) {
            words.push(String::new());
        }
        if let Some(word) = words.last_mut().filter(|_| c.is_alphanumeric()) {
            word.extend(c.to_lowercase());
        }
    }
    words.into_iter().find(|word| EMPTY_WORDS.contains(&word.as_str()))
}

/// `ignore`, `ignore = "…"`, `cfg_attr(…, ignore)`.
fn ignores(attribute: &TokenStream) -> bool {
    let mut words = Vec::new();
    walk(attribute, &mut |rest| {
        if let Some(TokenTree::Ident(word)) = rest.first() {
            words.push(word.to_string());
        }
    });
    match words.first().map(String::as_str) {
        Some("ignore") => true,
        Some("cfg_attr") => words.iter().any(|word| word == "ignore"),
        _ => false,
    }
}
