//! A function fits on a screen.
//!
//! Counted from the line of `fn` to the closing brace; attributes and doc comments are free.

use syn::visit::{self, Visit};
use syn::{Block, ImplItemFn, ItemFn, Signature, TraitItemFn};

use super::Finding;

/// The most lines a function may have, tests included.
const FUNCTION_LINES: usize = 70;

/// Finds the functions that are too long; a file that does not parse is one finding.
pub(super) fn check(path: &str, text: &str) -> Vec<Finding> {
    match syn::parse_file(text) {
        Ok(file) => {
            let mut long = Long { path, findings: Vec::new() };
            long.visit_file(&file);
            long.findings
        }
        Err(error) => vec![Finding::new(path, error.span().start().line, "syntax", error.to_string())],
    }
}

struct Long<'a> {
    path: &'a str,
    findings: Vec<Finding>,
}

impl Long<'_> {
    fn measure(&mut self, signature: &Signature, body: &Block) {
        let first = signature.fn_token.span.start().line;
        let lines = body.brace_token.span.close().end().line + 1 - first;
        if lines > FUNCTION_LINES {
            let name = &signature.ident;
            let remedy = format!("`{name}` has {lines} lines, at most {FUNCTION_LINES}: name its steps as functions");
            self.findings.push(Finding::new(self.path, first, "function-size", remedy));
        }
    }
}

impl<'ast> Visit<'ast> for Long<'_> {
    fn visit_item_fn(&mut self, node: &'ast ItemFn) {
        self.measure(&node.sig, &node.block);
        visit::visit_item_fn(self, node);
    }

    fn visit_impl_item_fn(&mut self, node: &'ast ImplItemFn) {
        self.measure(&node.sig, &node.block);
        visit::visit_impl_item_fn(self, node);
    }

    fn visit_trait_item_fn(&mut self, node: &'ast TraitItemFn) {
        if let Some(body) = &node.default {
            self.measure(&node.sig, body);
        }
        visit::visit_trait_item_fn(self, node);
    }
}
