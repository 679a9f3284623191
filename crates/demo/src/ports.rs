//! Ports for processes that start later.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};

use tokio::net::TcpSocket;

/// Ports on the loopback interface, which no other program gets while this exists.
#[derive(Debug)]
pub struct Ports<const N: usize>([TcpSocket; N]);

impl<const N: usize> Ports<N> {
    pub fn reserve() -> io::Result<Ports<N>> {
        let reserve = |_| {
            let socket = TcpSocket::new_v4()?;
            // Another socket may listen on the port, because this one never does.
            socket.set_reuseaddr(true)?;
            socket.bind((Ipv4Addr::LOCALHOST, 0).into())?;
            io::Result::Ok(socket)
        };
        let sockets = (0..N).map(reserve).collect::<io::Result<Vec<_>>>()?;
        Ok(Ports(sockets.try_into().expect("there are N")))
    }

    pub fn addresses(&self) -> io::Result<[SocketAddr; N]> {
        let addresses = self.0.iter().map(TcpSocket::local_addr).collect::<io::Result<Vec<_>>>()?;
        Ok(addresses.try_into().expect("there are N"))
    }
}
