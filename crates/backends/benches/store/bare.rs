//! The engine alone, written to in groups like the store does: one record a message, no rules.

use std::path::Path;

use fjall::{Database, KeyspaceCreateOptions, PersistMode};
use tokio::sync::{mpsc, oneshot};

type Job = (Vec<u8>, Vec<u8>, oneshot::Sender<()>);

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
                for (key, value, answer) in group.drain(..) {
                    batch.insert(&keyspace, key, value);
                    answers.push(answer);
                }
                batch.commit().unwrap();
                database.persist(PersistMode::SyncData).unwrap();
                answers.into_iter().for_each(|answer| answer.send(()).unwrap());
            }
        });
        Self(sender)
    }

    pub(crate) async fn put(&self, key: Vec<u8>, value: Vec<u8>) {
        let (sender, done) = oneshot::channel();
        self.0.send((key, value, sender)).await.unwrap();
        done.await.unwrap();
    }
}
