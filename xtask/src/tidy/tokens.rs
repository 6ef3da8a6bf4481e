//! Reading Rust by its tokens: what rules about words and paths need, macros and `use` trees included.

use proc_macro2::{Delimiter, Group, TokenStream, TokenTree};

/// A path as the code names it, `use` trees spelled out: `use std::{fs, io::Read}` names `std::fs` and `std::io::Read`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Named {
    /// Its segments.
    pub(super) path: Vec<String>,
    /// The line of its last segment.
    pub(super) line: usize,
}

/// Calls `look` with the rest of the siblings at every token, in all depths.
pub(super) fn walk(tokens: &TokenStream, look: &mut impl FnMut(&[TokenTree])) {
    let trees: Vec<TokenTree> = tokens.clone().into_iter().collect();
    for (at, tree) in trees.iter().enumerate() {
        look(&trees[at..]);
        if let TokenTree::Group(group) = tree {
            walk(&group.stream(), look);
        }
    }
}

/// All paths of the code, without what is compiled for tests only.
pub(super) fn paths(tokens: &TokenStream) -> Vec<Named> {
    let mut found = Vec::new();
    collect(tokens, &[], &mut found);
    found
}

fn collect(tokens: &TokenStream, prefix: &[String], found: &mut Vec<Named>) {
    let trees: Vec<TokenTree> = tokens.clone().into_iter().collect();
    let mut path = prefix.to_vec();
    let mut line = 0;
    let mut joined = false; // the last token was `::`
    let mut at = 0;
    while at < trees.len() {
        match &trees[at..] {
            [TokenTree::Ident(name), ..] => {
                if !joined {
                    finish(&mut path, prefix, line, found);
                }
                path.push(name.to_string());
                line = name.span().start().line;
                joined = false;
            }
            [TokenTree::Punct(a), TokenTree::Punct(b), ..] if a.as_char() == ':' && b.as_char() == ':' => {
                joined = true;
                at += 1;
            }
            [TokenTree::Group(group), ..] => {
                let tree = joined && group.delimiter() == Delimiter::Brace;
                collect(&group.stream(), if tree { &path } else { &[] }, found);
                finish(&mut path, prefix, line, found);
                joined = false;
            }
            [TokenTree::Punct(hash), TokenTree::Group(attribute), rest @ ..]
                if hash.as_char() == '#' && for_tests(attribute) =>
            {
                finish(&mut path, prefix, line, found);
                at += 1 + item(rest);
                joined = false;
            }
            _ => {
                finish(&mut path, prefix, line, found);
                joined = false;
            }
        }
        at += 1;
    }
    finish(&mut path, prefix, line, found);
}

/// Records the path when it has segments of its own, and begins the next one.
fn finish(path: &mut Vec<String>, prefix: &[String], line: usize, found: &mut Vec<Named>) {
    if path.len() > prefix.len() {
        found.push(Named { path: path.clone(), line });
    }
    path.truncate(0);
    path.extend_from_slice(prefix);
}

/// `[cfg(test)]`, `[cfg(all(test, …))]`, `[test]`, `[tokio::test]`.
fn for_tests(attribute: &Group) -> bool {
    let mut words = Vec::new();
    walk(&attribute.stream(), &mut |rest| {
        if let Some(TokenTree::Ident(word)) = rest.first() {
            words.push(word.to_string());
        }
    });
    let outer = words.first().is_some_and(|word| matches!(word.as_str(), "cfg" | "test" | "tokio"));
    outer && words.iter().any(|word| word == "test") && !words.iter().any(|word| word == "not")
}

/// How many tokens the item takes that stands here: up to its body or its semicolon.
fn item(rest: &[TokenTree]) -> usize {
    let end = rest.iter().position(|tree| match tree {
        TokenTree::Group(group) => group.delimiter() == Delimiter::Brace,
        TokenTree::Punct(punct) => punct.as_char() == ';',
        _ => false,
    });
    end.map_or(rest.len(), |end| end + 1)
}
