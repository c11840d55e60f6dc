/// A value that never appears in output: printing it gives stars.
package struct Secret: Equatable, Sendable, CustomStringConvertible, CustomDebugStringConvertible,
    CustomReflectable
{
    private let value: String

    /// A secret with its clear text.
    package init(_ value: String) {
        self.value = value
    }

    /// The clear text, for the one place that needs it.
    package func reveal() -> String { value }

    /// Stars.
    package var description: String { "***" }

    /// Stars.
    package var debugDescription: String { "***" }

    /// Nothing to look into, so that `dump` shows stars too.
    package var customMirror: Mirror { Mirror(self, children: []) }
}
