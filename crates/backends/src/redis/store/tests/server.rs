//! A real Redis on a port of its own, with a directory of its own: nothing of it is left. And a way to it that can be cut.

use std::net::TcpListener;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn program() -> Command {
    // Another one that speaks the same, such as valkey-server.
    Command::new(std::env::var("OYEZ_REDIS_SERVER").unwrap_or_else(|_| "redis-server".to_owned()))
}

/// A Redis.
pub(super) struct Server {
    port: u16,
    home: TempDir,
    options: Vec<String>,
    child: Option<Child>,
}

impl Server {
    /// One that runs, with these options.
    pub(super) async fn start(options: &[&str]) -> Self {
        let options = options.iter().map(|option| (*option).to_owned()).collect();
        let mut server = Self { port: free_port(), home: TempDir::new().unwrap(), options, child: None };
        server.begin().await;
        server
    }

    pub(super) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    pub(super) fn port(&self) -> u16 {
        self.port
    }

    /// A sentinel that watches a Redis under the name `main`, and needs nobody's consent.
    pub(super) async fn sentinel(of: &Server) -> Self {
        let mut server = Self { port: free_port(), home: TempDir::new().unwrap(), options: Vec::new(), child: None };
        let file = server.home.path().join("sentinel.conf");
        let monitor = format!("sentinel monitor main 127.0.0.1 {} 1", of.port);
        let watch = "sentinel down-after-milliseconds main 300\nsentinel failover-timeout main 2000\n";
        std::fs::write(&file, format!("port {}\nbind 127.0.0.1\n{monitor}\n{watch}", server.port)).unwrap();
        let mut command = program();
        command.arg(&file).arg("--sentinel");
        server.run(command, "+monitor").await;
        server
    }

    /// Starts it (again) and waits until it lets clients in.
    pub(super) async fn begin(&mut self) {
        let mut command = program();
        command.args(["--port", &self.port.to_string(), "--bind", "127.0.0.1", "--save", ""]);
        command.arg("--dir").arg(self.home.path()).args(&self.options);
        self.run(command, "Ready to accept connections").await;
    }

    /// Runs it until it says that.
    async fn run(&mut self, mut command: Command, ready: &str) {
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).kill_on_drop(true);
        let mut child = command.spawn().expect("redis-server, as Debian has it");
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        while !lines.next_line().await.unwrap().expect("redis-server ended").contains(ready) {}
        // What it says later must not block it.
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        self.child = Some(child);
    }

    /// As `kill -9`.
    pub(super) async fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().await.unwrap();
        }
    }
}

/// A way to a Redis on which the next answer that holds some word is lost, with its connection.
pub(super) struct Way {
    pub(super) url: String,
    cut: Arc<AtomicBool>,
}

impl Way {
    pub(super) async fn to(server: &Server, word: &'static str) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("redis://{}", listener.local_addr().unwrap());
        let (port, cut) = (server.port, Arc::new(AtomicBool::new(false)));
        let cuts = Arc::clone(&cut);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let server = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
                tokio::spawn(pass(client, server, word, Arc::clone(&cuts)));
            }
        });
        Self { url, cut }
    }

    /// Loses the next such answer.
    pub(super) fn lose_one(&self) {
        self.cut.store(true, Ordering::SeqCst);
    }

    /// Whether it has been lost.
    pub(super) fn has_lost(&self) -> bool {
        !self.cut.load(Ordering::SeqCst)
    }
}

async fn pass(client: TcpStream, server: TcpStream, word: &str, cut: Arc<AtomicBool>) {
    let ((mut from, mut to), (mut answers, mut questions)) = (client.into_split(), server.into_split());
    let asking = tokio::spawn(async move { tokio::io::copy(&mut from, &mut questions).await });
    let mut bytes = vec![0; 1 << 16];
    while let Ok(count @ 1..) = answers.read(&mut bytes).await {
        let some = &bytes[..count];
        let is_wanted = some.windows(word.len()).any(|window| window == word.as_bytes());
        if is_wanted && cut.swap(false, Ordering::SeqCst) {
            break;
        }
        if to.write_all(some).await.is_err() {
            break;
        }
    }
    asking.abort();
}
