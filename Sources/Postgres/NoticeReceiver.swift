import CLibpq

/// Receives a connection's notices in place of libpq, which would print them on standard error.
///
/// Called by libpq on the thread that uses the connection. The connection keeps the receiver alive
/// and closes before it goes.
final class NoticeReceiver {
    private let onNotice: (@Sendable (String) -> Void)?

    init(_ onNotice: (@Sendable (String) -> Void)?) { self.onNotice = onNotice }

    /// Makes `connection` report here; the receiver must outlive it.
    func install(on connection: OpaquePointer) {
        let context = unsafe Unmanaged.passUnretained(self).toOpaque()
        _ = unsafe PQsetNoticeReceiver(
            connection,
            { context, result in
                guard let context = unsafe context, let result = unsafe result else { return }
                let receiver = unsafe Unmanaged<NoticeReceiver>.fromOpaque(context)
                    .takeUnretainedValue()
                guard let onNotice = receiver.onNotice else { return }
                guard let text = unsafe PQresultErrorMessage(result) else { return }
                onNotice(PostgresError.trimmed(unsafe String(cString: text)))
            },
            context
        )
    }
}
