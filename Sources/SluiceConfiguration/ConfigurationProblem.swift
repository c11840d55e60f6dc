/// One thing wrong with the configuration: where, what, and what to do.
package struct ConfigurationProblem: Error, Equatable, Sendable, CustomStringConvertible {
    /// Where the text came from.
    package var origin: Origin

    /// Path of the key, such as `gateway.apis[0].id`; empty for the file as a whole.
    package var path: String

    /// What is wrong and what to do, one line.
    package var message: String

    /// A problem of its parts.
    package init(origin: Origin, path: String, message: String) {
        self.origin = origin
        self.path = path
        self.message = message
    }

    /// Where a value came from.
    package enum Origin: Equatable, Sendable {
        /// A file, with line and column from 1.
        case file(name: String, line: Int, column: Int)
        /// An environment variable.
        case environment(variable: String)
        /// The configuration as a whole, or a default.
        case whole(name: String)
    }

    /// `file:line:column: path: message`.
    package var description: String {
        let place: String
        switch origin {
        case .file(let name, let line, let column): place = "\(name):\(line):\(column)"
        case .environment(let variable): place = variable
        case .whole(let name): place = name
        }
        return path.isEmpty ? "\(place): \(message)" : "\(place): \(path): \(message)"
    }
}
