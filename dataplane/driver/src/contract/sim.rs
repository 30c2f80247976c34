//! The simulator as a backend of the suite: calm, and with every fault that leaves the outcome of a call alone.

use super::{Backend, contract_suite};
use crate::sim::{Fault, FaultPlan, Network, NetworkOptions, Sim};
use crate::{Addr, Handle};

/// A simulated network; addresses count up.
pub(crate) struct OnSim {
    net: Network,
    port: u16,
}

impl OnSim {
    fn on(faults: FaultPlan) -> (OnSim, Sim) {
        let net = Network::new(2026, NetworkOptions { faults, ..NetworkOptions::default() });
        let sim = Sim::new(&net);
        (OnSim { net, port: 1000 }, sim)
    }

    fn place(&mut self) -> Addr {
        self.port += 1;
        Addr::Inet(([127, 0, 0, 1], self.port).into())
    }

    fn listener(&mut self) -> (Handle, Addr) {
        let addr = self.place();
        (Handle::Sim(self.net.bind(&addr)), addr)
    }

    fn datagram(&mut self) -> Option<(Handle, Addr)> {
        let addr = self.place();
        Some((Handle::Sim(self.net.bind_datagram(&addr)), addr))
    }
}

impl Backend for OnSim {
    type D = Sim;
    fn open() -> (Self, Sim) {
        OnSim::on(FaultPlan::none())
    }
    fn listener(&mut self, _: &mut Sim) -> (Handle, Addr) {
        OnSim::listener(self)
    }
    fn refusing(&mut self, _: &mut Sim) -> Addr {
        self.place()
    }
    fn datagram(&mut self, _: &mut Sim) -> Option<(Handle, Addr)> {
        OnSim::datagram(self)
    }
}

/// The same with pieces, other orders, and late ends.
pub(crate) struct OnRoughSim(OnSim);

impl Backend for OnRoughSim {
    type D = Sim;
    fn open() -> (Self, Sim) {
        let faults = FaultPlan::none()
            .with(Fault::Split, 200_000)
            .with(Fault::LatencySpike, 20_000)
            .with(Fault::Reorder, 300_000)
            .with(Fault::ShortTurn, 300_000)
            .with(Fault::LateClosed, 300_000)
            .with(Fault::LateDetached, 300_000);
        let (backend, sim) = OnSim::on(faults);
        (OnRoughSim(backend), sim)
    }
    fn listener(&mut self, _: &mut Sim) -> (Handle, Addr) {
        self.0.listener()
    }
    fn refusing(&mut self, _: &mut Sim) -> Addr {
        self.0.place()
    }
    fn datagram(&mut self, _: &mut Sim) -> Option<(Handle, Addr)> {
        self.0.datagram()
    }
}

mod calm {
    super::contract_suite!(super::OnSim);
}

mod rough {
    super::contract_suite!(super::OnRoughSim);
}
