//! A line to the server that can go dead without either end being told.

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

pub(super) struct Line {
    pub(super) port: u16,
    silences: watch::Sender<u64>,
    _carrying: JoinSet<()>,
}

impl Line {
    /// To `port` on this machine.
    pub(super) async fn lay(port: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let own = listener.local_addr().unwrap().port();
        let silences = watch::Sender::new(0);
        let (heard, mut carrying) = (silences.subscribe(), JoinSet::new());
        carrying.spawn(async move {
            let mut calls = JoinSet::new();
            while let Ok((near, _)) = listener.accept().await {
                let mut heard = heard.clone();
                heard.mark_unchanged();
                calls.spawn(carry(near, port, heard));
            }
        });
        Self { port: own, silences, _carrying: carrying }
    }

    /// Nothing passes any more on what is connected now, which stays connected.
    pub(super) fn fall_silent(&self) {
        self.silences.send_modify(|count| *count += 1);
    }
}

async fn carry(mut near: TcpStream, port: u16, mut silence: watch::Receiver<u64>) {
    let Ok(mut far) = TcpStream::connect(("127.0.0.1", port)).await else { return };
    tokio::select! {
        biased;
        _ = silence.changed() => {}
        _ = copy_bidirectional(&mut near, &mut far) => return,
    }
    // Both ends are held as they are, until the test is over.
    std::future::pending::<()>().await;
}
