internal import FileIO
package import Records

/// Recovery: logs whose writer is gone get an end.
extension LogDirectory {
    /// Seals every log whose writer is gone, and reports what was lost.
    ///
    /// Logs that are locked by a living process, those that have ended, and those that were carried
    /// here are left alone. Every valid frame is kept; no byte is changed.
    package func recover() throws(EventLogError) -> [RecoveryReport] {
        var reports: [RecoveryReport] = []
        try removeUnpublished()
        for id in try logIDs() {
            let path = LogPaths.mark(in: paths.log(id))
            let lock = try io { () throws(FileIOError) in
                try fileSystem.open(path, .openOrCreate)
            }
            defer { lock.close() }
            guard try io({ () throws(FileIOError) in try lock.tryLock() }) else { continue }
            // The writer of a log that was carried here lives elsewhere.
            guard try !isCarried(id) else { continue }
            if let report = try recover(id) {
                reports.append(report)
            }
        }
        return reports
    }

    /// Looks at a log as recovery would, changing nothing.
    ///
    /// - Returns: What is there and what is lost; `endOffset` is where recovery would end it.
    package func inspect(_ id: LogID) throws(EventLogError) -> RecoveryReport {
        let scan = try LogScan(logID: id, directory: paths.log(id), fileSystem: fileSystem)
        let mark = try DurableMark.map(
            LogPaths.mark(in: paths.log(id)),
            logID: id,
            fileSystem: fileSystem,
            writable: true
        )
        return report(id, scan, durable: try durableOffset(id, scan, mark), movedAside: [])
    }

    /// Recovers one log whose lock is held; nil when there was nothing to do.
    private func recover(_ id: LogID) throws(EventLogError) -> RecoveryReport? {
        let directory = paths.log(id)
        let mark = try DurableMark.map(
            LogPaths.mark(in: directory),
            logID: id,
            fileSystem: fileSystem,
            writable: true
        )
        // What a kill during or after the close has left; only space is at stake.
        try? fileSystem.removeFile(directory + "/next.tmp")
        try? fileSystem.removeFile(directory + "/rebuild.tmp")
        if let value = mark.load(), value.isEnded, try isWhole(value, directory) { return nil }
        let scan = try LogScan(logID: id, directory: directory, fileSystem: fileSystem)
        let durable = try durableOffset(id, scan, mark)
        if scan.isDeleted, durable <= scan.startOffset {
            // Only logs that have ended lose their last segment: what is missing is the burial.
            publish(
                MarkValue(
                    durableOffset: scan.startOffset,
                    segmentBase: scan.startOffset,
                    isEnded: true
                ),
                mark
            )
            return nil
        }
        if let end = scan.endOffset, let position = scan.endPosition {
            // The end is there; only the mark was not. Its writer may have failed to sync it.
            try io { () throws(FileIOError) in
                try makeDurable(scan, from: durable)
                try fileSystem.syncDirectory(directory)
            }
            publish(
                MarkValue(
                    durableOffset: end,
                    segmentBase: position.segment,
                    position: position.position,
                    isEnded: true
                ),
                mark
            )
            return nil
        }
        let end = max(scan.validEnd, durable)
        var moved: [String] = []
        if durable > scan.validEnd, !scan.reaches(mark.load()) {
            moved += try putTailAside(scan)
        }
        moved += try seal(id, scan, durable: durable, end: end, mark: mark)
        return report(id, scan, durable: durable, movedAside: moved)
    }

    /// Everything below this offset had been synced, or a consumer has seen it.
    ///
    /// The checkpoint of a consumer that has seen the end is one above it. That end was durable, so
    /// it is found, unless all segments were deleted since.
    private func durableOffset(
        _ id: LogID,
        _ scan: LogScan,
        _ mark: DurableMark
    ) throws(EventLogError) -> Offset {
        let checkpoint =
            scan.isDeleted
            ? .zero : try CheckpointStore.highest(id, paths: paths, fileSystem: fileSystem)
        let marked = mark.load()?.durableOffset ?? .zero
        return max(max(marked, scan.highestMark), checkpoint)
    }

    /// Whether the end that a mark tells of is still in its place.
    private func isWhole(_ value: MarkValue, _ directory: String) throws(EventLogError) -> Bool {
        let path = LogPaths.segment(value.segmentBase, in: directory)
        return try io { () throws(FileIOError) in
            try fileSystem.status(path)?.size ?? 0 >= value.position
        }
    }

    /// Describes a scan.
    private func report(
        _ id: LogID,
        _ scan: LogScan,
        durable: Offset,
        movedAside: [String]
    ) -> RecoveryReport {
        let end = scan.endOffset ?? max(scan.validEnd, durable)
        return RecoveryReport(
            log: id,
            endOffset: end,
            recordCount: scan.recordCount,
            losses: scan.losses(durable: durable, end: end),
            tornBytes: scan.endOffset == nil ? scan.tailBytes : 0,
            isAtLeast: scan.endOffset == nil && scan.validEnd < durable,
            movedAside: movedAside
        )
    }

    /// Ends a log at an offset with a new segment that holds only an end frame.
    ///
    /// Crash story: (1) what is kept and may not be durable is written again as it is, and synced,
    /// so that the mark will not lie; (2) files without
    /// valid frames at or above the end are renamed, for one may have the name that is needed;
    /// (3) the new segment is written and synced under another name; (4) renamed; (5) the directory
    /// is synced; (6) the mark is stored. Killed before (4), the next recovery does it all again;
    /// killed after, it finds the end frame.
    private func seal(
        _ id: LogID,
        _ scan: LogScan,
        durable: Offset,
        end: Offset,
        mark: DurableMark
    ) throws(EventLogError) -> [String] {
        let directory = paths.log(id)
        let known = scan.segments.last { $0.header != nil }?.header
        let header = SegmentHeader(
            logID: id,
            baseOffset: end,
            salt: random(),
            createdAt: time.wallMicroseconds(),
            lane: known?.lane,
            predecessor: known?.predecessor,
            // So that readers tell what was lost before it was synced from what was lost later.
            durableOffset: min(durable, end),
            node: known?.node ?? "",
            region: known?.region ?? ""
        )
        let frame = BatchBuilder.endFrame(
            logID: id,
            endOffset: end,
            appendTime: header.createdAt,
            salt: header.salt
        )
        let bytes = header.encoded() + frame
        var moved: [String] = []
        do throws(FileIOError) {
            try makeDurable(scan, from: durable.advanced(by: 1))
            for segment in scan.segments where segment.frameCount == 0 && segment.base >= end {
                moved.append(try moveAside(segment.path))
            }
            let temporary = directory + "/seal.tmp"
            let file = try fileSystem.open(temporary, .openOrCreate)
            defer { file.close() }
            try file.truncate(to: 0)
            try file.write(bytes, at: 0)
            try file.sync()
            try fileSystem.rename(
                temporary,
                to: LogPaths.segment(end, in: directory),
                replacing: false
            )
            try fileSystem.syncDirectory(directory)
        } catch {
            throw .io(error)
        }
        publish(
            MarkValue(
                durableOffset: end,
                segmentBase: end,
                position: UInt64(bytes.count),
                isEnded: true
            ),
            mark
        )
        return moved
    }

    /// Syncs every segment of a log.
    ///
    /// A sync that failed under the writer, or a sync fault that it never saw, may have left bytes
    /// that reads see and no later sync writes: segments that end at `first` or later are written
    /// again as they are.
    private func makeDurable(_ scan: LogScan, from first: Offset) throws(FileIOError) {
        for segment in scan.segments {
            let file = try fileSystem.open(segment.path, .readWrite)
            defer { file.close() }
            if segment.end >= first {
                let bytes = try file.read(at: 0, count: Int(clamping: segment.byteCount))
                try file.write(bytes, at: 0)
            }
            try file.sync()
            // Gives back the space that was reserved beyond the end of the file.
            try file.truncate(to: min(segment.byteCount, try file.size()))
        }
    }

    /// Takes the beginning of a frame whose rest is absent out of the last segment, into a file of
    /// its own. Then readers find the offsets up to the log's end neither there nor damaged, but
    /// missing: this may be a copy, and the log that was copied may have them.
    ///
    /// Killed in between, the next recovery does it again.
    private func putTailAside(_ scan: LogScan) throws(EventLogError) -> [String] {
        guard let segment = scan.segments.last, segment.header != nil else { return [] }
        let valid = max(segment.validPosition, UInt64(SegmentHeader.blockBytes))
        // More than the largest frame is something else.
        guard valid < segment.byteCount,
            segment.byteCount - valid < UInt64(FrameHeader.frameBytesMax)
        else { return [] }
        do throws(FileIOError) {
            let file = try fileSystem.open(segment.path, .readWrite)
            defer { file.close() }
            let tail = try file.read(at: valid, count: Int(segment.byteCount - valid))
            let target = try freeName(for: segment.path)
            try fileSystem.replaceFile(target, with: tail)
            try file.truncate(to: valid)
            return [target]
        } catch {
            throw .io(error)
        }
    }

    /// Stores an end into both slots of a mark, so that one damaged slot cannot hide it.
    private func publish(_ value: MarkValue, _ mark: DurableMark) {
        mark.initialize()
        mark.store(value)
        mark.store(value)
        bell.ringTopology()
    }

    /// Renames a file that is in the way to a name that is free.
    private func moveAside(_ path: String) throws(FileIOError) -> String {
        let target = try freeName(for: path)
        try fileSystem.rename(path, to: target, replacing: false)
        return target
    }

    /// A name for what is put aside.
    private func freeName(for path: String) throws(FileIOError) -> String {
        var target = path + ".torn"
        var number = 1
        while try fileSystem.exists(target) {
            number += 1
            target = "\(path).torn\(number)"
        }
        return target
    }

    /// Removes directories of logs that were never published and that nobody is writing.
    private func removeUnpublished() throws(EventLogError) {
        let oldest = time.wallMicroseconds() - Self.unpublishedMicroseconds
        do throws(FileIOError) {
            for name in try fileSystem.list(paths.logs) where name.hasPrefix("tmp-") {
                let path = paths.logs + "/" + name
                guard let status = try fileSystem.status(path), status.modified < oldest else {
                    continue
                }
                try fileSystem.removeTree(path)
            }
        } catch {
            throw .io(error)
        }
    }

    /// How long an unpublished log is left alone; chosen: a day, longer than any import.
    private static let unpublishedMicroseconds: Int64 = 86_400_000_000
}
