//! A delivery allocates nothing: what a publication costs the allocator does not depend on who hears it.
//!
//! The whole process is counted, the server with it, so this is the only test in its program.

use std::alloc::System;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use oyez_server::settings::AppLimits;
use oyez_server::{CancellationToken, Hub, Server};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use tokio::runtime::Runtime;

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// Publications that are counted.
const ROUNDS: usize = 50;

/// A frame that everybody hears, as it arrives: `42["tick","…"]` with 200 bytes of data.
const FRAME: usize = 4 + r#"42["tick",""]"#.len() + 200;

/// A client that allocates nothing when it reads.
struct Client(TcpStream);

impl Client {
    fn connect(server: SocketAddr) -> Self {
        let mut stream = TcpStream::connect(server).expect("connected");
        stream.set_read_timeout(Some(Duration::from_secs(10))).expect("a timeout");
        let request = "GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\n\
            Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
        stream.write_all(request.as_bytes()).expect("sent");
        let mut client = Self(stream);
        client.read_until(b"\"maxPayload\"");
        // `40`, masked with zeros.
        client.0.write_all(&[0x81, 0x82, 0, 0, 0, 0, b'4', b'0']).expect("sent");
        client.read_until(b"40{\"sid\"");
        client
    }

    fn read_until(&mut self, mark: &[u8]) {
        let mut heard = Vec::new();
        while !heard.windows(mark.len()).any(|window| window == mark) {
            let mut more = [0; 1024];
            let count = self.0.read(&mut more).expect("more to read");
            assert!(count > 0, "closed after {}", String::from_utf8_lossy(&heard));
            heard.extend_from_slice(&more[..count]);
        }
    }

    fn hear(&mut self, count: usize) {
        let mut frame = [0; FRAME];
        for _ in 0..count {
            self.0.read_exact(&mut frame).expect("a frame");
            assert_eq!(&frame[4..14], b"42[\"tick\",");
        }
    }
}

/// Allocations of the whole process while everybody hears [`ROUNDS`] publications, one by one.
fn allocations(runtime: &Runtime, hub: &Hub, clients: &mut [Client]) -> usize {
    let data = "x".repeat(200);
    let round = |clients: &mut [Client]| {
        runtime.block_on(hub.emit("tick", &*data)).expect("accepted");
        clients.iter_mut().for_each(|client| client.hear(1));
    };
    // The first ones make room that stays.
    (0..5).for_each(|_| round(clients));
    let region = Region::new(ALLOCATOR);
    (0..ROUNDS).for_each(|_| round(clients));
    let change = region.change();
    change.allocations + change.reallocations
}

#[test]
fn a_delivery_allocates_nothing() {
    let runtime = Runtime::new().expect("a runtime");
    let guard = runtime.enter();
    let server = Server::builder().limits(AppLimits::none()).shards(1).build();
    let hub = server.hub().clone();
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("an address");
    runtime.spawn(server.serve(listener, CancellationToken::new()));
    drop(guard);
    let mut clients: Vec<_> = (0..50).map(|_| Client::connect(address)).collect();
    let few = allocations(&runtime, &hub, &mut clients);
    clients.extend((0..350).map(|_| Client::connect(address)));
    let many = allocations(&runtime, &hub, &mut clients);
    let deliveries = 350 * ROUNDS;
    assert!(few >= ROUNDS, "a publication itself does allocate: {few}");
    assert!(many < few + ROUNDS, "{deliveries} deliveries more cost {} allocations more", many - few);
}
