//! Joins and leaves in process: a benchmark of the server crate, which counts the CPU of the shard's thread alone.

use std::path::Path;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use super::output;
use crate::test::cargo;

/// One round, as the benchmark prints it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Joins {
    joins: u64,
    leaves: u64,
    cpu_ns: u64,
}

impl Joins {
    /// Joins and leaves per CPU-second of the shard.
    pub(super) fn per_cpu_second(&self) -> f64 {
        (self.joins + self.leaves) as f64 * 1e9 / self.cpu_ns as f64
    }
}

/// Builds and runs the benchmark.
pub(super) fn measure(root: &Path) -> Result<Vec<Joins>> {
    println!("── joins in process");
    let printed =
        output(cargo::command(root).args(["bench", "--quiet", "--package", "oyez-server", "--bench", "joins"]))?;
    let lines: Result<Vec<Joins>, _> = printed.lines().map(serde_json::from_str).collect();
    let mut rounds = lines.with_context(|| format!("the benchmark printed no JSON: {printed}"))?;
    // Its last line is the median of the others.
    rounds.pop();
    println!("   {} rounds", rounds.len());
    Ok(rounds)
}
