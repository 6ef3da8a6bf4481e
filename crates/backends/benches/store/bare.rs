//! The engine alone, written to in groups like the store does: no rules. A message is one record, or the three that the
//! store writes for it: itself, the head of its inbox, its id.

use std::path::Path;

use fjall::{Database, KeyspaceCreateOptions, PersistMode};
use tokio::sync::{mpsc, oneshot};

type Record = (Vec<u8>, Vec<u8>);
type Job = (Vec<Record>, oneshot::Sender<()>);

/// A writer of its own thread.
#[derive(Clone)]
pub(crate) struct Bare(mpsc::Sender<Job>);

impl Bare {
    pub(crate) fn open(dir: &Path) -> Self {
        let database = Database::builder(dir).manual_journal_persist(true).worker_threads(2).open().unwrap();
        let options = || KeyspaceCreateOptions::default().max_memtable_size(32 << 20);
        let keyspace = database.keyspace("bare", options).unwrap();
        let (sender, mut jobs) = mpsc::channel::<Job>(1_024);
        std::thread::spawn(move || {
            let mut group = Vec::new();
            while jobs.blocking_recv_many(&mut group, 512) > 0 {
                let mut batch = database.batch();
                let mut answers = Vec::new();
                for (records, answer) in group.drain(..) {
                    records.into_iter().for_each(|(key, value)| batch.insert(&keyspace, key, value));
                    answers.push(answer);
                }
                batch.commit().unwrap();
                database.persist(PersistMode::SyncData).unwrap();
                answers.into_iter().for_each(|answer| answer.send(()).unwrap());
            }
        });
        Self(sender)
    }

    /// Writes a message of 200 bytes as one record.
    pub(crate) async fn put(&self, message: String) {
        self.write(vec![(message.into_bytes(), vec![b'x'; 260])]).await;
    }

    /// The same, with the records that the store writes beside it, as long as they are there.
    pub(crate) async fn put_all(&self, message: String, user: usize) {
        let user = format!("user-{user}");
        let inbox = key(2, &user).into_iter().chain(message.bytes()).collect();
        let head = (key(3, &user), vec![b'h'; 14]);
        let id = (key(4, &message), vec![b'i'; 24]);
        self.write(vec![head, (inbox, vec![b'x'; 260]), id]).await;
    }

    async fn write(&self, records: Vec<Record>) {
        let (sender, done) = oneshot::channel();
        self.0.send((records, sender)).await.unwrap();
        done.await.unwrap();
    }
}

/// A key as the store makes it: the table, what spreads it, the name.
fn key(table: u8, name: &str) -> Vec<u8> {
    let spread = name.bytes().fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    [&[table], &spread.to_be_bytes()[1..], b"\0\x05bench\0", name.as_bytes()].concat()
}
