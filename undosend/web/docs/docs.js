// Show the contract that this service serves. Nothing is asked of any other.
SwaggerUIBundle({
  url: "../openapi.yaml",
  dom_id: "#docs",
  deepLinking: true,
  validatorUrl: null, // its badge would send the document's address elsewhere
});
