// Bluesky's own code: the AppView's client, its mapping of errors, and its handlers of `app.bsky.contact.*`.
//
// The package's `exports` hide these modules, so they are imported by file path.

import assert from 'node:assert/strict'

const DIST = '../node_modules/@atproto/bsky/dist'
const { Code, authWithApiKey, createRolodexClient, isRolodexError } = await import(`${DIST}/rolodex.js`)
const { callRolodexClient } = await import(`${DIST}/api/app/bsky/contact/util.js`)

export { Code, callRolodexClient, isRolodexError }

/** What `BSKY_ROLODEX_HTTP_VERSION` can be; 2 is the AppView's default. */
export const HTTP_VERSIONS = ['2', '1.1']

/** The client, made as the AppView's `dist/index.js` makes it. */
export function rolodexClient(server, httpVersion, apiKey = server.apiKey) {
  return createRolodexClient({
    baseUrl: server.url,
    httpVersion,
    nodeOptions: { rejectUnauthorized: true },
    interceptors: apiKey ? [authWithApiKey(apiKey)] : [],
  })
}

const METHODS = [
  'startPhoneVerification',
  'verifyPhone',
  'importContacts',
  'getMatches',
  'dismissMatch',
  'removeData',
  'getSyncStatus',
]

/**
 * The AppView's handlers of the public API, as `(viewer, paramsOrBody) => body`. Around them stands only what does not
 * concern the contact service: `hides(did)` tells whose profile the viewer cannot see.
 */
export async function appviewHandlers(client, hides = () => false) {
  const context = {
    rolodexClient: client,
    authVerifier: {},
    reqLabelers: () => ({}),
    hydrator: { createContext: async ({ viewer }) => ({ viewer }), hydrateProfiles: async () => ({}) },
    views: { profile: (did) => (hides(did) ? undefined : { did }), viewerBlockExists: () => false },
  }
  const handlers = {}
  for (const method of METHODS) {
    const { default: register } = await import(`${DIST}/api/app/bsky/contact/${method}.js`)
    const add = (_lexicon, { handler }) => {
      handlers[method] = async (viewer, sent = {}) => {
        const auth = { credentials: { iss: viewer } }
        const { body } = await handler({ auth, params: sent, input: { body: sent }, req: {} })
        return body
      }
    }
    register({ add }, context)
  }
  return handlers
}

/** `INVALID_PHONE`, and what the AppView makes of it. */
export const REASONS = {
  INVALID_DID: ['InvalidDid', 400],
  INVALID_LIMIT: ['InvalidLimit', 400],
  INVALID_CURSOR: ['InvalidCursor', 400],
  INVALID_CONTACTS: ['InvalidContacts', 400],
  TOO_MANY_CONTACTS: ['TooManyContacts', 400],
  INVALID_TOKEN: ['InvalidToken', 400],
  RATE_LIMIT_EXCEEDED: ['RateLimitExceeded', 400],
  INVALID_PHONE: ['InvalidPhone', 400],
  INVALID_CODE: ['InvalidCode', 400],
  INTERNAL_ERROR: ['InternalError', 500],
}

const CODES = { RATE_LIMIT_EXCEEDED: Code.ResourceExhausted, INTERNAL_ERROR: Code.Unavailable }

/**
 * Asserts that the AppView answers `call` with the XRPC error for `reason`. Returns the ConnectError underneath.
 */
export async function refused(call, reason) {
  const [name, status] = REASONS[reason]
  let error
  try {
    await callRolodexClient(call)
  } catch (caught) {
    error = caught
  }
  assert.ok(error, `${reason} was to be the answer, but the call succeeded`)
  assert.equal(error.constructor.name, status === 500 ? 'InternalServerError' : 'InvalidRequestError', String(error))
  assert.equal(error.payload.error, name)
  assert.equal(error.statusCode, status)
  const cause = error.cause
  assert.ok(isRolodexError(cause, CODES[reason] ?? Code.InvalidArgument), String(cause))
  assert.equal(cause.details.length, 1)
  assert.equal(cause.details[0].type, 'google.rpc.ErrorInfo')
  // google.rpc.ErrorInfo: field 1 is the reason.
  assert.equal(Buffer.from(cause.details[0].value).subarray(2, 2 + reason.length).toString(), reason)
  return cause
}
