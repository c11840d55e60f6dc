import FileIO
import Logging
import Records

/// What a sink finds in its directory, and how it goes on from there.
extension FileSinkWriter {
    /// The largest journal that is read. Chosen: the positions of a million logs, several times.
    private static let journalBytesMax: UInt64 = 256 << 20

    /// Brings the file into the state of the journal, and the journal up to what is in the file.
    func recover() throws(SinkError) {
        let found = try readJournal()
        try io { () throws(FileIOError) in
            var state = found
            let data = try recoverPart(&state)
            try putAsideStrangers(besides: state.fileName + ".part")
            // A replay goes by what is in the files, and may come back to any offset.
            if configuration.isReplay { state.positions = [:] }
            try writeJournal(state, data)
            if configuration.isReplay { try finishFile() }
        }
    }

    // MARK: The journal

    /// The journal, or the beginning of one in a directory without any.
    private func readJournal() throws(SinkError) -> FileSinkJournal {
        let size = try io { () throws(FileIOError) in try fileSystem.status(journalPath)?.size }
        if let size, size <= Self.journalBytesMax {
            let bytes = try io { () throws(FileIOError) in try fileSystem.readFile(journalPath) }
            if let journal = FileSinkJournal(bytes) {
                if journal.isDamaged { warn("file_sink_journal_damaged") }
                return journal
            }
        }
        // A replay looks at every line of the directory anyway.
        if configuration.isReplay {
            if size != nil { warn("file_sink_journal_damaged") }
            return FileSinkJournal()
        }
        if size != nil {
            throw damaged("the beginning of \"\(journalPath)\" is damaged")
        }
        let names = try io { () throws(FileIOError) in try fileSystem.list(directory) }
        if let name = names.first(where: isPumped) {
            throw damaged("\"\(journalPath)\" is missing, and there is \"\(name)\"")
        }
        return FileSinkJournal()
    }

    /// Whether a file holds, by its name, lines that the pump has written.
    private func isPumped(_ name: String) -> Bool {
        let base = name.hasSuffix(".part") ? String(name.dropLast(5)) : name
        return base.hasPrefix("records-") && !Self.isReplay(base)
            && (base.hasSuffix(".ndjson") || base.hasSuffix(".ndjson.gz"))
    }

    private func warn(_ event: Logger.Message) {
        logger.warning(event, metadata: ["file": "\(journalPath)"])
    }

    private func damaged(_ what: String) -> SinkError {
        SinkError(
            code: "damaged",
            message: what + "; what is in the files is not known. Move the directory away, with "
                + "all files, to begin anew"
        )
    }

    // MARK: The file that was being written

    /// Opens it, with the length that counts from now on; nil when there is none.
    private func recoverPart(_ state: inout FileSinkJournal) throws(FileIOError) -> (any File)? {
        let part = partPath(state.fileName)
        guard state.fileName != "-", try fileSystem.exists(part) else { return nil }
        let file = try fileSystem.open(part, .readWrite)
        let isCompressed = state.fileName.hasSuffix(".gz")
        let size = try file.size()
        if size < state.length {
            logger.error(
                "file_sink_file_too_short",
                metadata: [
                    "file": "\(part)", "bytes": "\(size)", "was": "\(state.length)",
                    "advice": "records are lost; `sluice replay --sink` brings them back",
                ]
            )
            state.length = isCompressed ? try wholeMembers(file) : try wholeLines(file, size)
            if state.length == 0 {
                file.close()
                try putAside(part)
                return nil
            }
            try file.truncate(to: state.length)
        } else if size > state.length {
            let known = state.length
            if isCompressed {
                try takeMembers(file, &state)
            } else {
                try takeLines(file, &state)
            }
            try writeAgain(file, known..<state.length)
            try file.truncate(to: state.length)
            logger.info(
                "file_sink_file_cut",
                metadata: [
                    "file": "\(part)", "bytes": "\(size)", "known": "\(known)",
                    "kept": "\(state.length)",
                ]
            )
        }
        try file.sync()
        return file
    }

    /// Adds whole lines behind the journal's length to what is known.
    private func takeLines(
        _ file: any File,
        _ state: inout FileSinkJournal
    ) throws(FileIOError) {
        var tail = LineTail(positions: state.positions)
        var at = state.length
        while tail.isValid {
            let piece = try file.read(at: at, count: Self.pieceBytes)
            if piece.isEmpty { break }
            at += UInt64(piece.count)
            tail.bytes += piece
            tail.takeLines()
        }
        state.length += tail.taken
        state.positions = tail.positions
    }

    /// Adds whole members of whole lines behind the journal's length to what is known.
    private func takeMembers(
        _ file: any File,
        _ state: inout FileSinkJournal
    ) throws(FileIOError) {
        let reader = try GzipReader(file, from: state.length)
        guard reader.isCompressed else { return }
        var tail = LineTail(positions: state.positions)
        do throws(FileIOError) {
            while try reader.step(Self.pieceBytes, appendingTo: &tail.bytes) != nil {
                tail.takeLines()
                guard tail.isValid else { return }
                guard reader.isBetweenMembers else { continue }
                guard tail.bytes.isEmpty else { return }
                state.length = reader.memberEnd
                state.positions = tail.positions
            }
        } catch {
            guard error.code == FileIOError.corruptData else { throw error }
        }
    }

    /// Writes bytes once more: a sync that failed has left them where no other sync finds them.
    private func writeAgain(_ file: any File, _ range: Range<UInt64>) throws(FileIOError) {
        var at = range.lowerBound
        while at < range.upperBound {
            let count = min(UInt64(Self.pieceBytes), range.upperBound - at)
            let piece = try file.read(at: at, count: Int(count))
            if piece.isEmpty { break }
            try file.write(piece, at: at)
            at += UInt64(piece.count)
        }
    }

    /// How far a file goes that ends with its last whole line.
    private func wholeLines(_ file: any File, _ size: UInt64) throws(FileIOError) -> UInt64 {
        var end = size
        while end > 0 {
            let start = end - min(end, UInt64(Self.pieceBytes))
            let piece = try file.read(at: start, count: Int(end - start))
            if let last = piece.lastIndex(of: UInt8(ascii: "\n")) {
                return start + UInt64(last) + 1
            }
            end = start
        }
        return 0
    }

    /// How far a file goes that ends with its last whole member.
    private func wholeMembers(_ file: any File) throws(FileIOError) -> UInt64 {
        let reader = try GzipReader(file)
        guard reader.isCompressed else { return 0 }
        var content: [UInt8] = []
        do throws(FileIOError) {
            while try reader.step(Self.pieceBytes, appendingTo: &content) != nil {
                content.removeAll(keepingCapacity: true)
            }
        } catch {
            guard error.code == FileIOError.corruptData else { throw error }
        }
        return reader.memberEnd
    }

    // MARK: Other files

    /// Parts that the journal does not know hold nothing that was acknowledged.
    private func putAsideStrangers(besides known: String) throws(FileIOError) {
        for name in try fileSystem.list(directory)
        where name.hasSuffix(".part") && name != known
            && Self.isReplay(name) == configuration.isReplay
        {
            try putAside(directory + "/" + name)
        }
    }

    private func putAside(_ path: String) throws(FileIOError) {
        if try fileSystem.status(path)?.size ?? 0 > 0 {
            try fileSystem.rename(path, to: path + ".orphan", replacing: true)
        } else {
            try fileSystem.removeFile(path)
        }
    }
}

/// Lines behind what a journal knows, as they are read.
private struct LineTail {
    /// What was read and is not a whole line yet.
    var bytes: [UInt8] = []
    /// The offset that comes next in each log; what is below is in the files.
    var positions: [LogID: UInt64]
    /// How many bytes the lines have.
    var taken: UInt64 = 0
    /// Whether nothing but lines of a sink has come.
    var isValid = true

    /// Takes the whole lines off.
    mutating func takeLines() {
        var start = 0
        while let end = bytes[start...].firstIndex(of: UInt8(ascii: "\n")) {
            guard let line = LineIdentity(bytes, start..<end),
                line.offset >= positions[line.log] ?? 0
            else {
                isValid = false
                break
            }
            positions[line.log] = line.offset + 1
            start = end + 1
        }
        bytes.removeFirst(start)
        taken += UInt64(start)
        if bytes.count > LineIdentity.lineBytesMax { isValid = false }
    }
}
