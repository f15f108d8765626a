/** Something about this machine stands in the way; the message says what and what to do about it. */
export class SetupError extends Error {
  override readonly name = 'SetupError';
}
