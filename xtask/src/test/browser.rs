//! Pages in a real browser: `tests/browser/*.test.mjs` through playwright-core, which brings no browser of its own.

use anyhow::Result;

use super::summary::Counts;
use super::{Bench, needs, node};

/// Runs `tests/browser/**/*.test.mjs`, one file at a time; the tests find the browser in OYEZ_CHROMIUM.
pub(super) fn run(bench: &mut Bench<'_>) -> Result<Counts> {
    let files = bench.files(&["tests/browser"], node::is_test)?;
    if files.is_empty() {
        return Ok(bench.nothing());
    }
    let chromium = match needs::node_packages(bench.root).and_then(|()| needs::chromium()) {
        Ok(chromium) => chromium,
        Err(missing) => return Ok(Counts::missing(&files, missing)),
    };
    let mut variables = bench.programs()?;
    variables.push(("OYEZ_CHROMIUM", chromium));
    node::test(bench.root, &files, 1, variables)
}
