export function uuidFromHex(hex: string): string {
  return hex.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, '$1-$2-$3-$4-$5');
}

export function hexFromUuid(uuid: string): string {
  return uuid.replaceAll('-', '');
}

/** Marks 16 random bytes as a UUID of version 4 (RFC 9562 section 5.4). */
export function uuidFromRandom(bytes: Buffer): string {
  bytes.writeUInt8((bytes.readUInt8(6) & 0x0f) | 0x40, 6);
  bytes.writeUInt8((bytes.readUInt8(8) & 0x3f) | 0x80, 8);
  return uuidFromHex(bytes.toString('hex'));
}
