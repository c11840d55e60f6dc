internal import CSluice

/// The terminal of an interactive command; one per process.
package enum TerminalDevice {
    /// Rows and columns of a window.
    package struct Size: Equatable, Sendable {
        /// Lines that fit.
        package var rows: Int
        /// Characters that fit into a line.
        package var columns: Int

        /// A size as given.
        package init(rows: Int, columns: Int) {
            self.rows = rows
            self.columns = columns
        }
    }

    /// The size of the terminal `descriptor`; nil if it is none or does not say.
    package static func size(_ descriptor: Int32 = 1) -> Size? {
        let packed = sluice_terminal_size(descriptor)
        return packed == 0 ? nil : Size(rows: Int(packed >> 16), columns: Int(packed & 0xFFFF))
    }

    /// Hides the cursor; with `takesWholeScreen` also shows a screen of its own, and lets keys
    /// arrive one by one and unseen, while Ctrl-C and Ctrl-Z stay signals.
    ///
    /// Undone by `leave()`, at every exit, also by a crash, and while stopped by Ctrl-Z; after that
    /// the process gets SIGWINCH.
    package static func enter(takesWholeScreen: Bool) {
        _ = sluice_terminal_enter(0, 1, takesWholeScreen ? 1 : 0)
    }

    /// Gives the terminal back as it was; a second call does nothing.
    package static func leave() { sluice_terminal_leave() }
}
