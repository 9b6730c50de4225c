"""The console: pages that show what is decided, learned and published, and let an operator act on it.

Rooms, upper ones first; each uses itself and those below it:

    server         `run_console`, until SIGTERM
    app            all routes, and what goes around each request
    pages/         a file for each page: what is asked, what is looked up, what is shown
    acts           what an operator may do: shown first, then typed, then done by the command line's own functions
    jobs           what takes longer than a page: one at a time, bounded, kept for a while
    followed       the topics that pages are made of, followed in the background
    nodes, flow    serving nodes and topics, asked now and then
    versions       the line of a policy's snapshots, in bounded room                             PURE
    arms, rows     snapshots → the rows of a table                                               PURE
    timeline       versions → shares over time                                                   PURE
    lookup         where in a log a decision lies                                                PURE
    derive         a decision, made again and compared                                           PURE
    access         who asks, and whether it was a page of ours that made them ask
    render         templates and how numbers are written
    settings       what is set

Pages are whole documents that the server writes; htmx replaces parts of them and uPlot draws lines over time. Both lie
in `assets/`, with their licences. Nothing is loaded from elsewhere, and no script stands in a page.
"""
