//! The protocol as conversations: plays every `tests/transcripts/*.txt` against an embedded server, over real sockets,
//! with one shard and with four (where nearly every polling request arrives at the wrong one).
//!
//! The language of the files is described in `tests/transcripts/README.md`.

mod apps;
mod fixture;
mod pattern;
mod player;
mod wire;

use std::path::{Path, PathBuf};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/transcripts")
}

fn play(name: &str, shards: usize) {
    let path = folder().join(format!("{name}.txt"));
    let text = std::fs::read_to_string(&path).expect("the transcript is there");
    let mut failures = Vec::new();
    for scenario in player::scenarios(&text) {
        if let Err(failure) = player::play(&scenario, shards) {
            failures.push(format!("{name}.txt: {}, {failure}", scenario.title));
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

/// One module of tests per file.
macro_rules! transcripts {
    ($($name:ident)*) => {
        $(mod $name {
            #[test]
            fn one_shard() {
                super::play(stringify!($name), 1);
            }

            #[test]
            fn four_shards() {
                super::play(stringify!($name), 4);
            }
        })*

        const NAMES: &[&str] = &[$(stringify!($name)),*];
    };
}

transcripts! {
    acknowledgements
    appendix_d
    binary
    broadcast
    compression
    cors
    disconnect
    engineio3
    errors
    handshake
    heartbeat
    msgpack
    polling
    socketio
    upgrade
}

#[test]
fn no_transcript_is_forgotten() {
    let mut found = Vec::new();
    for entry in folder().read_dir().expect("the folder is there") {
        let name = entry.expect("a readable entry").file_name().into_string().expect("a plain name");
        found.extend(name.strip_suffix(".txt").map(str::to_owned));
    }
    found.sort();
    assert_eq!(found, NAMES);
}
