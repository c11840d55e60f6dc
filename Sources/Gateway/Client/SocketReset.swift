internal import Glibc
internal import NIOCore

/// Makes a close of a socket a reset, so that the other side notices that something is missing.
enum SocketReset {
    /// Sets `SO_LINGER` with time 0 (POSIX `setsockopt(2)`).
    static func arm(_ channel: any Channel) {
        // A failure means that the socket is gone already.
        _ = (channel as? any SocketOptionProvider)?
            .setSoLinger(linger(l_onoff: 1, l_linger: 0))
    }
}
