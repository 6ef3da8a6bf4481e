//! Prints the configuration reference: `cargo run -p oyez-server --example configuration > docs/configuration.md`.

#[expect(clippy::print_stdout, reason = "printing is what it is for")]
fn main() {
    print!("{}", oyez_server::config::reference());
}
