/** Members that are undefined, left out: with exact optional types the two are not the same. */
export function present<Members extends Record<string, unknown>>(
  members: Members,
): Present<Members> {
  const entries = Object.entries(members).filter(([, value]) => value !== undefined);
  // Only members whose value is undefined were dropped, which Present marks as optional.
  return Object.fromEntries(entries) as Present<Members>;
}

type Present<Members> = {
  [Name in keyof Members as undefined extends Members[Name] ? never : Name]: Members[Name];
} & {
  [Name in keyof Members as undefined extends Members[Name] ? Name : never]?: Exclude<
    Members[Name],
    undefined
  >;
};
