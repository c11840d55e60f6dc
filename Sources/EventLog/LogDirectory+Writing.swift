internal import FileIO
package import Records

/// Making logs.
extension LogDirectory {
    /// Opens a lane for appending: always a new log, whose first record names its predecessor.
    ///
    /// Crash story: the log is made under a name that nobody looks at, with its mark locked, and
    /// renamed when it is complete; so nobody can take it for an abandoned one.
    ///
    /// - Parameters:
    ///   - index: The lane's index, from 0.
    ///   - configuration: How it is written.
    package func openLane(
        _ index: Int,
        _ configuration: LogConfiguration
    ) throws(EventLogError) -> sending LaneWriter {
        try Self.check(configuration)
        let id = makeLogID()
        let template = SegmentHeader(
            logID: id,
            baseOffset: .zero,
            salt: 0,
            createdAt: time.wallMicroseconds(),
            lane: index,
            predecessor: try predecessor(ofLane: index),
            durableOffset: .zero,
            node: configuration.node,
            region: configuration.region
        )
        let temporary = paths.unpublished(id)
        try io { () throws(FileIOError) in try fileSystem.createDirectory(temporary) }
        do throws(EventLogError) {
            let markPath = LogPaths.mark(in: temporary)
            let lock = try io { () throws(FileIOError) in
                try fileSystem.open(markPath, .openOrCreate)
            }
            guard try io({ () throws(FileIOError) in try lock.tryLock() }) else {
                throw .locked(id)
            }
            let mark = try DurableMark.map(
                markPath,
                logID: id,
                fileSystem: fileSystem,
                writable: true
            )
            mark.initialize()
            mark.store(MarkValue())
            try io { () throws(FileIOError) in
                try fileSystem.rename(temporary, to: paths.log(id), replacing: false)
                try fileSystem.syncDirectory(paths.logs)
            }
            let core = try LaneCore(
                directory: paths.log(id),
                configuration: configuration,
                template: template,
                fileSystem: fileSystem,
                time: time,
                random: random,
                mark: mark,
                bell: bell
            ) { [self] in
                deleteOldestShipped(consumers: configuration.consumers)
            }
            let writer = LaneWriter(core: core, lock: lock)
            try writer.logStart()
            try writer.write()
            return writer
        } catch {
            // Nothing was promised yet, so nothing of it has to stay.
            try? fileSystem.removeTree(temporary)
            try? fileSystem.removeTree(paths.log(id))
            throw error
        }
    }

    /// Writes a complete log aside and publishes it at once, closed.
    ///
    /// - Parameters:
    ///   - id: The log's id.
    ///   - configuration: `segmentBytes`, limits, node and region are used.
    ///   - body: Appends the records; when it throws, nothing is published.
    /// - Returns: False when a log of that id is there already (or was, and has been deleted), also
    ///   when another process won the race; the body may then not have been called.
    /// - Throws: What the body throws, among others; `abandoned` is for the body's own reasons.
    package func writeSealedLog(
        id: LogID,
        _ configuration: LogConfiguration = LogConfiguration(),
        _ body: (SealedLogWriter) throws(EventLogError) -> Void
    ) throws(EventLogError) -> Bool {
        try Self.check(configuration)
        if try isTaken(id) { return false }
        let temporary = paths.unpublished(makeLogID())
        let template = SegmentHeader(
            logID: id,
            baseOffset: .zero,
            salt: 0,
            createdAt: time.wallMicroseconds(),
            lane: nil,
            predecessor: nil,
            durableOffset: .zero,
            node: configuration.node,
            region: configuration.region
        )
        do throws(EventLogError) {
            try io { () throws(FileIOError) in try fileSystem.createDirectory(temporary) }
            let writer = try SealedLogWriter(
                directory: temporary,
                template: template,
                configuration: configuration,
                fileSystem: fileSystem,
                time: time,
                random: random
            )
            try body(writer)
            let end = try writer.finish()
            let mark = try DurableMark.map(
                LogPaths.mark(in: temporary),
                logID: id,
                fileSystem: fileSystem,
                writable: true
            )
            mark.initialize()
            mark.store(end)
            mark.store(end)
            let isPublished = try publish(temporary, as: id)
            if !isPublished {
                try io { () throws(FileIOError) in try fileSystem.removeTree(temporary) }
            }
            return isPublished
        } catch {
            try? fileSystem.removeTree(temporary)
            throw error
        }
    }

    /// Gives a complete log its name, durably; false when the name is taken.
    private func publish(_ temporary: String, as id: LogID) throws(EventLogError) -> Bool {
        do throws(FileIOError) {
            try fileSystem.syncDirectory(temporary)
            try fileSystem.rename(temporary, to: paths.log(id), replacing: false)
            try fileSystem.syncDirectory(paths.logs)
        } catch {
            if error.isAlreadyThere { return false }
            throw .io(error)
        }
        bell.ringTopology()
        return true
    }

    /// Whether there is, or ever was, a log of this id.
    package func isTaken(_ id: LogID) throws(EventLogError) -> Bool {
        try io { () throws(FileIOError) in
            if try fileSystem.exists(paths.log(id)) { return true }
            return try fileSystem.exists(paths.buried(id))
        }
    }

    /// The newest log of the same lane.
    private func predecessor(ofLane index: Int) throws(EventLogError) -> LogID? {
        try logs().filter { $0.lane == index }
            .max { ($0.createdAt, $0.id) < ($1.createdAt, $1.id) }?.id
    }

    /// Refuses configurations that cannot work.
    private static func check(_ configuration: LogConfiguration) throws(EventLogError) {
        guard configuration.segmentBytes > SegmentHeader.blockBytes + FrameHeader.headerBytes else {
            throw .invalidConfiguration("segment_bytes must be more than the segment's header")
        }
        let frame = configuration.batchBytesMax.addingReportingOverflow(
            configuration.recordBytesMax
        )
        guard configuration.recordBytesMax > 0, configuration.batchBytesMax > 0,
            !frame.overflow, frame.partialValue <= FrameHeader.frameBytesMax - 4096
        else {
            throw .invalidConfiguration("a batch must stay below 64 MiB")
        }
    }
}
