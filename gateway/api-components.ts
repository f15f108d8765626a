/** What opens the document, in Markdown. */
export const apiDescription = `Access tokens of your customers' OAuth 2.0 connections, refreshed once, without losing a grant.

Bodies are JSON in UTF-8. Members and query parameters that are not named here are refused. Errors are
problem details (RFC 9457) with a stable \`code\`; \`GET /problems/{code}\` explains each. Ids are 1 to 255 of
\`A-Z a-z 0-9 . _ : ~ -\`. Lists are pages: pass \`next_cursor\` on as \`cursor\` until it is null. A caller may
name its request by \`X-Request-Id\`, and its trace by \`traceparent\` (W3C Trace Context).`;

export const apiTags = [
  { name: 'Tokens', description: 'What a product calls: the access token of a connection.' },
  { name: 'Connections', description: 'Import, status and attempts of connections.' },
  { name: 'Apps', description: 'Registrations of OAuth clients.' },
  {
    name: 'Events',
    description: 'What happens to connections, for those who do not want to poll.',
  },
  { name: 'Providers', description: 'The catalogue of providers.' },
  { name: 'Probes', description: 'What load balancers and orchestrators ask.' },
  { name: 'Documents', description: 'What describes the service itself.' },
];

/** The headers that answers share, as components of the document. */
export const apiHeaders = {
  'X-Request-Id': {
    description: 'Names the request in the log: as the caller named it, or a new name.',
    required: true,
    schema: { type: 'string' },
    example: '5f0c6d2e-8a52-4a57-9d0b-6b8c7f5a1e11',
  },
  'Cache-Control': {
    description: 'No cache may keep an answer.',
    required: true,
    schema: { type: 'string', const: 'no-store' },
  },
  'Retry-After': {
    description: 'Seconds to wait before the same request is sent again.',
    schema: { type: 'integer', minimum: 1 },
    example: 1,
  },
  'WWW-Authenticate': {
    description: 'How a caller shows itself.',
    schema: { type: 'string' },
    example: 'Bearer',
  },
  Allow: {
    description: 'The methods that the path takes.',
    required: true,
    schema: { type: 'string' },
    example: 'GET, HEAD',
  },
} as const;
