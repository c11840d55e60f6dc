package import EventLog
package import FileIO
package import Logging
internal import NIOCore
internal import NIOPosix
import ServiceLifecycle
package import Telemetry

/// The reverse proxy that leaves exactly one record per request.
///
/// Owner: the service group. `run()` opens one lane per event loop, serves until graceful shutdown,
/// lets requests in flight finish within `timeouts.drain`, and closes the lanes, which syncs them.
package final class GatewayServer: Service {
    private let shared: GatewayShared
    private let log: LogDirectory
    private let logConfiguration: LogConfiguration
    private let onListening: @Sendable (_ host: String, _ port: Int) -> Void

    /// A server that listens once `run()` is called.
    ///
    /// - Parameters:
    ///   - configuration: where to listen, which APIs, which limits.
    ///   - log: directory in which the lanes are opened; the caller has recovered it.
    ///   - logConfiguration: how the lanes are written.
    ///   - metrics: registry that this module adds to.
    ///   - logger: where failures are reported.
    ///   - time: the clocks.
    ///   - onListening: called once with the address in use, after the socket listens.
    /// - Throws: `invalidConfiguration`.
    package init(
        configuration: GatewayConfiguration,
        log: LogDirectory,
        logConfiguration: LogConfiguration,
        metrics: MetricsRegistry,
        logger: Logger,
        time: any TimeSource = SystemTimeSource(),
        onListening: @escaping @Sendable (_ host: String, _ port: Int) -> Void = { _, _ in }
    ) throws(GatewayError) {
        shared = try GatewayShared(
            configuration,
            metrics: GatewayMetrics(metrics),
            time: time,
            logger: logger
        )
        self.log = log
        self.logConfiguration = logConfiguration
        self.onListening = onListening
    }

    /// Serves until graceful shutdown or cancellation.
    ///
    /// Flushes: everything; on return the logs have their end frames. Takes at most
    /// `timeouts.drain` beyond the slowest sync of a lane.
    package func run() async throws {
        let configured = shared.configuration.eventLoops
        let group = MultiThreadedEventLoopGroup(
            numberOfThreads: configured > 0 ? configured : System.coreCount
        )
        do {
            try await serve(group)
        } catch {
            try? await group.shutdownGracefully()
            throw error
        }
        try await group.shutdownGracefully()
    }

    private func serve(_ group: MultiThreadedEventLoopGroup) async throws {
        var loops: [NIOLoopBound<GatewayLoop>] = []
        do {
            for eventLoop in group.makeIterator() {
                loops.append(try await openLoop(eventLoop, index: loops.count))
            }
            let listener = try await listen(group, loops)
            let address = listener.localAddress
            let port = address?.port ?? shared.configuration.port
            shared.logger.info("the gateway listens", metadata: ["port": "\(port)"])
            onListening(address?.ipAddress ?? shared.configuration.host, port)
            // Cancellation ends the wait just as a graceful shutdown does.
            try? await gracefulShutdown()
            await drain(listener, loops)
        } catch {
            try? await close(loops)
            throw error
        }
        try await close(loops)
    }

    /// Opens a lane, and schedules what its loop does regularly.
    private func openLoop(
        _ eventLoop: any EventLoop,
        index: Int
    ) async throws -> NIOLoopBound<GatewayLoop> {
        let (shared, log, configuration) = (shared, log, logConfiguration)
        return try await eventLoop.submit {
            // Blocks the loop, which has no traffic yet.
            let lane: LaneWriter
            do throws(EventLogError) {
                lane = try log.openLane(index, configuration)
            } catch {
                throw GatewayError.log("could not open lane \(index): \(error)")
            }
            let loop = GatewayLoop(
                shared: shared,
                eventLoop: eventLoop,
                lane: lane,
                isStrict: configuration.sync == .strict
            )
            let bound = NIOLoopBound(loop, eventLoop: eventLoop)
            let timeouts = shared.configuration.timeouts
            eventLoop.scheduleRepeatedTask(
                initialDelay: TimeAmount(timeouts.heartbeat),
                delay: TimeAmount(timeouts.heartbeat)
            ) { _ in bound.value.heartbeat() }
            eventLoop.scheduleRepeatedTask(
                initialDelay: TimeAmount(timeouts.granularity),
                delay: TimeAmount(timeouts.granularity)
            ) { _ in bound.value.checkDeadlines() }
            return bound
        }.get()
    }

    /// Opens the listening socket; connections go to the loops in turn.
    private func listen(
        _ group: MultiThreadedEventLoopGroup,
        _ loops: [NIOLoopBound<GatewayLoop>]
    ) async throws -> any Channel {
        let shared = shared
        let bootstrap = ServerBootstrap(group: group)
            // Chosen: as many as the kernel allows by default since Linux 5.4.
            .serverChannelOption(.backlog, value: 4_096)
            .serverChannelOption(.socketOption(.so_reuseaddr), value: 1)
            .serverChannelOption(.maxMessagesPerRead, value: 64)
            .childChannelOption(.socketOption(.tcp_nodelay), value: 1)
            .childChannelOption(.maxMessagesPerRead, value: 1)
            .childChannelOption(.allowRemoteHalfClosure, value: true)
            .childChannelInitializer { channel in
                let eventLoop = channel.eventLoop
                guard let bound = loops.first(where: { $0.eventLoop === eventLoop }),
                    !shared.isDraining, shared.admitConnection()
                else { return channel.close() }
                let client = ClientConnection(loop: bound.value, channel: channel)
                return eventLoop.makeCompletedFuture {
                    do {
                        try channel.pipeline.syncOperations.addHandler(client)
                    } catch {
                        shared.dismissConnection()
                        throw error
                    }
                }
            }
        let (host, port) = (shared.configuration.host, shared.configuration.port)
        do {
            return try await bootstrap.bind(host: host, port: port).get()
        } catch {
            throw GatewayError.cannotListen(host: host, port: port, reason: "\(error)")
        }
    }

    /// How long the end of an abandoned request waits for its record; a sync takes milliseconds,
    /// so whatever is not durable by then waits for a disk that fails.
    private static let syncAllowance = TimeAmount.seconds(2)

    /// Stops accepting and lets requests finish; what is not finished in time is cut off.
    private func drain(_ listener: any Channel, _ loops: [NIOLoopBound<GatewayLoop>]) async {
        shared.beginDraining()
        try? await listener.close().get()
        let limit = TimeAmount(shared.configuration.timeouts.drain)
        var drained: [EventLoopFuture<Void>] = []
        for bound in loops {
            let promise = bound.eventLoop.makePromise(of: Void.self)
            bound.eventLoop.execute {
                let loop = bound.eventLoop.assumeIsolated()
                let deadline = loop.scheduleTask(in: limit) { bound.value.abandon() }
                let cut = loop.scheduleTask(in: limit + Self.syncAllowance) { bound.value.cutOff() }
                bound.value.drain {
                    deadline.cancel()
                    cut.cancel()
                    promise.succeed()
                }
            }
            drained.append(promise.futureResult)
        }
        for future in drained { try? await future.get() }
    }

    private func close(_ loops: [NIOLoopBound<GatewayLoop>]) async throws {
        var failure: (any Error)?
        for bound in loops {
            do {
                try await bound.eventLoop.submit { try bound.value.close() }.get()
            } catch {
                failure = failure ?? error
            }
        }
        if let failure { throw failure }
    }
}
