//! The program. Here stand the names of the commands; each has its file in `command`.

mod allocator;
mod api;
mod banner;
mod bench;
mod certificate;
mod command;
mod company;
mod compose;
mod configuration;
mod failure;
mod keeping;
mod listener;
mod logging;
mod mint;
mod process;
mod progress;
mod reload;
mod say;
mod secrets;
mod signals;
mod sources;
mod tail;
mod trust;
mod who;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// A realtime push server: Socket.IO and plain WebSocket, one binary.
#[derive(Debug, Parser)]
#[command(name = "oyez", version, after_help = AFTER, propagate_version = true)]
struct Program {
    #[command(subcommand)]
    command: Command,
}

const AFTER: &str = "\
A first look, without any file:   oyez dev
In earnest:                       oyez serve --config oyez.toml

Exit codes: 0 done; 1 it could not be done, and the reason is on stderr; 2 the command line is wrong.
Logs go to stderr, as JSON unless it is a terminal; OYEZ_LOG (or RUST_LOG) says how much: OYEZ_LOG=warn.";

#[derive(Debug, Subcommand)]
enum Command {
    Serve(command::serve::Options),
    Dev(command::dev::Options),
    Check(command::check::Options),
    Explain(command::explain::Options),
    Publish(Box<command::publish::Options>),
    Trace(command::trace::Options),
    Listen(Box<command::listen::Options>),
    Token(command::token::Options),
    Reload(command::reload::Options),
    Store(command::store::Options),
    Bench(Box<command::bench::Options>),
    ConfigReference(command::config_reference::Options),
    Reference(command::reference::Options),
}

fn main() -> ExitCode {
    let outcome = match Program::parse().command {
        Command::Serve(options) => command::serve::run(&options),
        Command::Dev(options) => command::dev::run(&options),
        Command::Check(options) => command::check::run(&options),
        Command::Explain(options) => command::explain::run(&options),
        Command::Publish(options) => command::publish::run(&options),
        Command::Trace(options) => command::trace::run(&options),
        Command::Listen(options) => command::listen::run(&options),
        Command::Token(options) => command::token::run(&options),
        Command::Reload(options) => command::reload::run(&options),
        Command::Store(options) => command::store::run(&options),
        Command::Bench(options) => command::bench::run(&options),
        Command::ConfigReference(options) => command::config_reference::run(&options),
        Command::Reference(options) => command::reference::run(&options),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            say::problem(&failure);
            ExitCode::from(failure.code)
        }
    }
}
