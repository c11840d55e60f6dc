internal import Logging
internal import NIOCore
internal import NIOPosix

/// The upstreams of one API on one event loop. Owner: the loop.
final class UpstreamGroup {
    private let members: [UpstreamPool]
    private var turn = 0

    /// A group of the pools of an API's upstreams.
    init(_ members: [UpstreamPool]) { self.members = members }

    /// How many upstreams there are.
    var count: Int { members.count }

    /// The upstream whose turn it is, passing over those that could not be reached lately.
    ///
    /// - Parameters:
    ///   - now: monotonic time.
    ///   - excluded: an upstream that has just failed, taken only if there is no other.
    func next(now: UInt64, excluding excluded: UpstreamPool?) -> UpstreamPool {
        if members.count == 1 { return members[0] }
        for step in 0..<members.count {
            let candidate = (turn + step) % members.count
            let pool = members[candidate]
            if pool !== excluded, pool.restsUntil <= now {
                turn = (candidate + 1) % members.count
                return pool
            }
        }
        // All of them rest: the next in turn is as good as any.
        var candidate = turn
        if members[candidate] === excluded { candidate = (candidate + 1) % members.count }
        turn = (candidate + 1) % members.count
        return members[candidate]
    }
}

/// Connections to one upstream from one event loop, bounded. Owner: the loop.
final class UpstreamPool {
    /// Where the connections go.
    let address: UpstreamAddress
    /// The same as text, in bytes as recorded and as sent in `Host`.
    let addressText: [UInt8]
    /// What stands between a request's target and its other fields.
    let hostLine: [UInt8]
    /// The loop.
    unowned let loop: GatewayLoop
    /// Until when new requests go elsewhere, if there is elsewhere; monotonic nanoseconds.
    private(set) var restsUntil: UInt64 = 0

    private let socketAddress: SocketAddress?
    private var idle: [UpstreamConnection] = []
    private var waiters: [ClientConnection] = []
    /// Connections that are open or being opened.
    private var openCount = 0
    /// Connections that are being opened; each serves the first waiter when it is open.
    private var connectingCount = 0

    /// An empty pool.
    init(address: UpstreamAddress, loop: GatewayLoop) {
        self.address = address
        self.loop = loop
        addressText = Array(address.description.utf8)
        hostLine = Array(" HTTP/1.1\r\nHost: \(address)\r\n".utf8)
        // Names are resolved at each connection, so that changes of address are followed.
        socketAddress = try? SocketAddress(ipAddress: address.host, port: address.port)
    }

    /// Finds a connection for a client, which is told by `upstreamReady` or `upstreamUnavailable`.
    ///
    /// - Parameters:
    ///   - client: who needs it.
    ///   - fresh: whether only a new connection will do.
    func acquire(for client: ClientConnection, fresh: Bool) {
        if !fresh, let connection = idle.popLast() {
            client.upstreamReady(connection, isReused: true)
        } else if openCount < loop.shared.limits.upstreamConnectionsMax {
            waiters.append(client)
            connect()
        } else if let unused = fresh ? idle.popLast() : nil {
            // A reused connection is better than none, but it must not be tried for ever: the
            // client does not retry a second time.
            client.upstreamReady(unused, isReused: true)
        } else if waiters.count < loop.shared.limits.upstreamWaitersMax {
            waiters.append(client)
        } else {
            client.upstreamUnavailable(.overloaded)
        }
    }

    /// Forgets a client that waits no more.
    func cancel(_ client: ClientConnection) {
        waiters.removeAll { $0 === client }
    }

    /// Takes a connection back whose exchange is complete.
    func release(_ connection: UpstreamConnection, isReusable: Bool) {
        guard isReusable, connection.isOpen else {
            connection.close()
            return
        }
        if !waiters.isEmpty {
            waiters.removeFirst().upstreamReady(connection, isReused: true)
        } else if idle.count < loop.shared.limits.upstreamIdleMax, !loop.shared.isDraining {
            idle.append(connection)
            connection.deadline = loop.now + loop.shared.timeouts.upstreamIdle
        } else {
            connection.close()
        }
    }

    /// Notes that a connection is closed.
    func closed(_ connection: UpstreamConnection) {
        openCount -= 1
        if let index = idle.firstIndex(where: { $0 === connection }) { idle.remove(at: index) }
        connectForWaiters()
    }

    private func connect() {
        openCount += 1
        connectingCount += 1
        let eventLoop = loop.eventLoop
        let bound = NIOLoopBound(self, eventLoop: eventLoop)
        let bootstrap = ClientBootstrap(group: eventLoop)
            .channelOption(.socketOption(.tcp_nodelay), value: 1)
            .channelOption(.maxMessagesPerRead, value: 1)
            .connectTimeout(.nanoseconds(Int64(loop.shared.timeouts.connect)))
        let future: EventLoopFuture<any Channel>
        if let socketAddress {
            future = bootstrap.connect(to: socketAddress)
        } else {
            future = bootstrap.connect(host: address.host, port: address.port)
        }
        future.whenComplete { result in
            let pool = bound.value
            pool.loop.readClock()
            switch result {
            case .success(let channel): pool.connected(channel)
            case .failure(let error): pool.failedToConnect(error)
            }
        }
    }

    private func connected(_ channel: any Channel) {
        connectingCount -= 1
        restsUntil = 0
        let connection = UpstreamConnection(pool: self, channel: channel)
        do {
            try channel.pipeline.syncOperations.addHandler(connection)
        } catch {
            // The channel was closed in the same moment.
            openCount -= 1
            refuseFirstWaiter(.unreachable)
            return
        }
        guard connection.isOpen else { return }
        if waiters.isEmpty {
            release(connection, isReusable: true)
        } else {
            waiters.removeFirst().upstreamReady(connection, isReused: false)
        }
    }

    private func failedToConnect(_ error: any Error) {
        openCount -= 1
        connectingCount -= 1
        let isFirst = restsUntil <= loop.now
        restsUntil = loop.now + loop.shared.timeouts.upstreamRest
        if isFirst {
            loop.shared.logger.warning(
                "an upstream could not be reached",
                metadata: ["upstream": "\(address)", "error": "\(error)"]
            )
        }
        var refusal = Refusal.unreachable
        if let error = error as? ChannelError, case .connectTimeout = error {
            refusal = .gatewayTimeout
        }
        refuseFirstWaiter(refusal)
    }

    private func refuseFirstWaiter(_ refusal: Refusal) {
        guard !waiters.isEmpty else { return }
        waiters.removeFirst().upstreamUnavailable(refusal)
        connectForWaiters()
    }

    /// Opens another connection if more clients wait than connections are being opened.
    private func connectForWaiters() {
        guard waiters.count > connectingCount,
            openCount < loop.shared.limits.upstreamConnectionsMax
        else { return }
        connect()
    }
}
