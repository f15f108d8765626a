/** The gateway's port to Temporal for deleted connections. */
export interface RevocationEngine {
  /**
   * Starts the revocation of a deleted connection, or finds it running. Rejects with
   * `refresh_engine_unavailable`; nothing is lost by that, for the sweep finds what was not started.
   */
  start(connection: { connectionId: string }): Promise<void>;
}
