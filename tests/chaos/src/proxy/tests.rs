//! What the proxy does, seen by a client and a server.

use std::time::Duration;

use anyhow::{Context as _, Result};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

use super::{Direction, Proxy, Strike, Way};

/// Long enough for bytes on loopback to have come, if they were to come.
const SILENCE: Duration = Duration::from_millis(150);
const SOON: Duration = Duration::from_secs(10);

/// Both ends of a connection through a proxy.
async fn connected() -> Result<(Proxy, TcpStream, TcpStream)> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let proxy = Proxy::start(listener.local_addr()?).await?;
    let client = TcpStream::connect(proxy.address()).await?;
    let (server, _) = listener.accept().await?;
    Ok((proxy, client, server))
}

async fn arrives(to: &mut TcpStream, bytes: usize) -> Result<Vec<u8>> {
    let mut got = vec![0; bytes];
    timeout(SOON, to.read_exact(&mut got)).await.context("nothing came")??;
    Ok(got)
}

#[tokio::test]
async fn bytes_pass_both_ways_and_a_close_is_passed_on() -> Result<()> {
    let (_proxy, mut client, mut server) = connected().await?;
    client.write_all(b"ask").await?;
    assert_eq!(arrives(&mut server, 3).await?, b"ask");
    server.write_all(b"answer").await?;
    assert_eq!(arrives(&mut client, 6).await?, b"answer");
    drop(client);
    assert_eq!(timeout(SOON, server.read(&mut [0; 1])).await??, 0);
    Ok(())
}

#[tokio::test]
async fn a_blackhole_holds_one_direction_and_lets_the_other_pass_and_gives_all_back() -> Result<()> {
    let (proxy, mut client, mut server) = connected().await?;
    proxy.set(Direction::ToServer, Way::Blackhole);
    client.write_all(b"held").await?;
    assert!(timeout(SILENCE, server.read(&mut [0; 4])).await.is_err(), "nothing passes");
    server.write_all(b"free").await?;
    assert_eq!(arrives(&mut client, 4).await?, b"free");
    proxy.set(Direction::ToServer, Way::Open);
    assert_eq!(arrives(&mut server, 4).await?, b"held");
    Ok(())
}

#[tokio::test]
async fn a_slow_line_delays_and_loses_nothing() -> Result<()> {
    let (proxy, mut client, mut server) = connected().await?;
    proxy.set(Direction::ToClient, Way::Slow(Duration::from_millis(200)));
    let begun = tokio::time::Instant::now();
    server.write_all(b"late").await?;
    assert_eq!(arrives(&mut client, 4).await?, b"late");
    assert!(begun.elapsed() >= Duration::from_millis(200));
    Ok(())
}

#[tokio::test]
async fn a_reset_is_an_error_on_both_sides_and_spares_new_connections() -> Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let proxy = Proxy::start(listener.local_addr()?).await?;
    let mut client = TcpStream::connect(proxy.address()).await?;
    let (mut server, _) = listener.accept().await?;
    client.write_all(b"1").await?;
    arrives(&mut server, 1).await?;
    proxy.strike(Strike::Reset);
    for side in [&mut client, &mut server] {
        let error = timeout(SOON, side.read(&mut [0; 1])).await?.expect_err("a reset");
        assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
    }
    let mut client = TcpStream::connect(proxy.address()).await?;
    let (mut server, _) = listener.accept().await?;
    client.write_all(b"again").await?;
    assert_eq!(arrives(&mut server, 5).await?, b"again");
    Ok(())
}

#[tokio::test]
async fn a_half_open_connection_tells_one_side_alone() -> Result<()> {
    let (proxy, mut client, mut server) = connected().await?;
    client.write_all(b"1").await?;
    arrives(&mut server, 1).await?;
    proxy.strike(Strike::ServerGone);
    assert_eq!(timeout(SOON, server.read(&mut [0; 1])).await??, 0, "the server sees the end");
    client.write_all(b"into the void").await?;
    assert!(timeout(SILENCE, client.read(&mut [0; 1])).await.is_err(), "the client sees nothing");
    Ok(())
}

#[tokio::test]
async fn a_cut_in_mid_frame_passes_half_of_it() -> Result<()> {
    let (proxy, mut client, mut server) = connected().await?;
    client.write_all(b"1").await?;
    arrives(&mut server, 1).await?;
    proxy.strike(Strike::CutMidFrame(Direction::ToServer));
    client.write_all(b"12345678").await?;
    let mut got = Vec::new();
    timeout(SOON, server.read_to_end(&mut got)).await??;
    assert_eq!(got, b"1234");
    assert_eq!(timeout(SOON, client.read(&mut [0; 1])).await??, 0);
    Ok(())
}

#[tokio::test]
async fn a_commit_reaches_the_server_and_its_answer_reaches_nobody() -> Result<()> {
    let (proxy, mut client, mut server) = connected().await?;
    proxy.cut_commits(true);
    client.write_all(&[0, 0, 0, 9, 0, 3, 0, 0, 0]).await?;
    client.write_all(b"Q\0\0\0\x0bCOMMIT\0").await?;
    let sent = arrives(&mut server, 9 + 12).await?;
    assert!(sent.ends_with(b"COMMIT\0"));
    server.write_all(b"C\0\0\0\x0bCOMMIT\0").await?;
    assert!(timeout(SOON, client.read(&mut [0; 1])).await?.is_err(), "cut off before the answer");
    assert_eq!(proxy.commits_cut(), 1);
    Ok(())
}
