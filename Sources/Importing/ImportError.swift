package import EventLog
package import FileIO

/// Why a file was not imported; nothing of it was then counted.
package enum ImportError: Error, Equatable, Sendable {
    /// A file operation failed.
    case io(FileIOError)
    /// The log could not be written.
    case log(EventLogError)
    /// The path names a directory.
    case isDirectory(path: String)
    /// The format is unknown, or is yet to come.
    case unsupportedFormat(name: String, isAnnounced: Bool)
    /// None of the first lines is a line of an access log.
    case unrecognisedFormat(path: String)
    /// The file changed between the two passes over it.
    case fileChanged(path: String)
    /// The file may be the beginning of one that was imported; too few hashes are kept to tell.
    case undecidable(path: String, knownLines: UInt64, lines: UInt64)
    /// An entry of the registry cannot be read.
    case damagedRegistry(path: String, reason: String)
}

extension ImportError: CustomStringConvertible {
    /// What was attempted, what went wrong, and what to do.
    package var description: String {
        switch self {
        case .io(let error): error.description
        case .log(let error): error.description
        case .isDirectory(let path):
            "could not import \"\(path)\": it is a directory; hint: name the files in it"
        case .unsupportedFormat(let name, true):
            """
            the format "\(name)" is not supported yet; hint: this version reads "combined" and \
            "common"
            """
        case .unsupportedFormat(let name, false):
            "there is no format \"\(name)\"; hint: use \"combined\" or \"common\""
        case .unrecognisedFormat(let path):
            """
            could not recognise the format of "\(path)": none of its first lines is a line of an \
            access log; hint: to import it nevertheless, give --format
            """
        case .fileChanged(let path):
            """
            could not import "\(path)": it was changed, not only extended, while it was read; \
            nothing of it was imported
            """
        case .undecidable(let path, let knownLines, let lines):
            """
            could not decide whether "\(path)" was imported: its first \(knownLines) of \(lines) \
            lines were, as part of a larger file of which only some hashes are kept; nothing of it \
            was imported; hint: import the larger file again, or use --force to import this one as \
            new lines, counting again what was counted
            """
        case .damagedRegistry(let path, let reason):
            """
            the import registry file "\(path)" is damaged: \(reason); hint: restore it, or remove \
            it and accept that a longer or shorter version of that file counts again
            """
        }
    }
}
