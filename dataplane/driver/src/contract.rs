//! The contract suite: every clause of the crate page as a scripted case that runs on every backend.
//!
//! A backend joins by implementing [`Backend`] in its own tests and calling `contract_suite!(name, Backend)`. Both
//! ends of every connection belong to the driver under test, so a simulator needs nothing that a kernel has.

use crate::{Addr, Driver, Handle};

mod closing;
mod differential;
mod listening;
mod moving;
mod os;
mod os_faults;
mod receiving;
pub(crate) mod rig;
mod sending;
mod sim;

/// One driver and the network around it.
pub(crate) trait Backend {
    /// The driver under test.
    type D: Driver;
    /// `Close::Reset` reaches the peer as a reset. (A unix socket just ends.)
    const RESETS: bool = true;
    /// A driver in a fresh network.
    fn open() -> (Self, Self::D)
    where
        Self: Sized;
    /// A bound listening socket (for [`Driver::listen`]) and its address; every call another one.
    fn listener(&mut self, driver: &mut Self::D) -> (Handle, Addr);
    /// An address that refuses connections.
    fn refusing(&mut self, driver: &mut Self::D) -> Addr;
    /// A bound datagram socket and its address; `None` where the backend has none.
    fn datagram(&mut self, driver: &mut Self::D) -> Option<(Handle, Addr)>;
}

/// The cases, as `#[test]` functions for one backend.
macro_rules! contract_suite {
    ($backend:ty) => {
        $crate::contract::contract_suite!(@cases $backend,
            listening::{
                connect_and_accept_tell_each_other, a_refused_connect_says_so, closing_while_connecting_is_silent,
                paused_accept_leaves_connections_waiting, closing_a_listener_empties_its_queue,
                what_is_sent_before_connected_is_queued, a_quota_accepts_several,
            }
            receiving::{
                nothing_arrives_without_permission, bytes_arrive_with_room_around_them,
                bytes_wait_while_paused, an_own_buffer_is_filled_once, pause_returns_the_own_buffer,
                the_end_comes_once_after_all_bytes, an_end_while_paused_is_told,
                a_reset_while_reading_fails, a_reset_while_paused_fails, bulk_arrives_exactly,
                undelivered_buffers_are_bounded, completions_per_turn_are_bounded, bulk_does_not_starve_others,
                pausing_and_resuming_loses_nothing,
            }
            sending::{
                pieces_arrive_in_order, a_full_kernel_queues_and_reports_progress,
                an_error_tells_what_was_not_sent, fin_follows_the_data, shutdown_ends_our_direction_only,
                a_blocked_send_goes_on_after_the_peers_end,
                an_early_answer_survives_a_broken_request, an_early_answer_survives_a_queue_that_breaks, a_failed_send_is_told_once,
            }
            closing::{
                graceful_sends_what_is_queued, more_then_graceful_sends_everything, reset_drops_and_resets,
                lingering_saves_the_answer, lingering_ends_at_its_deadline,
                the_end_of_lingering_keeps_what_is_on_its_way, lingering_ends_at_its_bytes,
                a_stuck_graceful_close_can_be_reset, stale_handles_are_ignored, slots_are_reused_with_a_new_generation,
                closing_with_completions_under_way_is_silent,
            }
            moving::{
                a_detached_connection_lives_on, detaching_with_input_fails, closing_while_detaching,
                splice_moves_everything, splice_waits_for_a_slow_reader, a_spliced_socket_can_be_paused,
                datagrams_come_and_go, a_waker_ends_the_wait, a_turn_ends_in_time, the_clocks_go_forward,
            }
        );
    };
    (@cases $backend:ty, $($module:ident::{$($case:ident),* $(,)?})*) => {
        $($(
            #[test]
            fn $case() {
                $crate::contract::$module::$case::<$backend>();
            }
        )*)*
    };
}
pub(crate) use contract_suite;
