//! x
use crate::failure::Failure;
use clap::Args;
/// x
#[derive(Debug, Args)]
pub(crate) struct Options {}
/// x
pub(crate) fn run(_: &Options) -> Result<(), Failure> {
    Ok(())
}
