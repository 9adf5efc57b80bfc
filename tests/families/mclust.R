# What mclust 6.0.0 (Scrucca, Fop, Murphy and Raftery 2016) makes of data that it comes with, for
# mclust.json beside this file:
#
#     Rscript tests/families/mclust.R > tests/families/mclust.json
#
# For each data set and each k from 1 to 5 the partition is that of mclust's own hierarchical
# clustering, and from there each of its models is fitted by its own EM until the log-likelihood
# changes by less than 1e-13 of itself; the iterations within its M-steps until 1e-13. What does not
# come to an end so, or fails, is null. Data are written as mclust has them; labels count from 0.
# For VVE the parameters are written too: where mclust ends is no maximum, see test_mclust.py.
suppressMessages(library(mclust))

data(diabetes); data(thyroid); data(banknote); data(acidity); data(cross)
sets <- list(
  iris = as.matrix(iris[, 1:4]),
  faithful = as.matrix(faithful),
  diabetes = as.matrix(diabetes[, -1]),
  thyroid = as.matrix(thyroid[, -1]),
  banknote = as.matrix(banknote[, -1]),
  cross = as.matrix(cross[seq(1, 500, 2), -1]),
  acidity = matrix(acidity, ncol = 1)
)
models <- c("EII", "VII", "EEI", "VEI", "EVI", "VVI", "EEE", "VEE", "EVE", "VVE", "EEV", "VEV",
            "EVV", "VVV")
control <- emControl(tol = c(1e-13, 1e-13), itmax = c(50000, 5000))

number <- function(value) if (is.finite(value)) sprintf("%.15g", value) else "null"
listed <- function(values) paste0("[", paste(values, collapse = ","), "]")

fitted <- function(x, model, labels) {
  samples <- if (ncol(x) == 1) drop(x) else x
  fit <- tryCatch(suppressWarnings(me(modelName = model, data = samples, z = unmap(labels),
                                      control = control)), error = function(e) NULL)
  code <- attr(fit, "returnCode")
  if (is.null(fit) || is.null(fit$loglik) || is.na(fit$loglik) || (!is.null(code) && code != 0))
    return(NULL)
  fit
}

ending <- function(fit) {
  if (is.null(fit)) return("null")
  p <- fit$parameters
  digits <- function(values) listed(sprintf("%.12g", values))
  sprintf('{"weights":%s,"means":%s,"covariances":%s}', digits(p$pro), digits(p$mean),
          digits(p$variance$sigma))
}

parts <- c()
for (name in names(sets)) {
  x <- sets[[name]]
  tree <- if (ncol(x) == 1) hc(drop(x), modelName = "V") else hc(x, modelName = "VVV")
  fits <- c()
  for (k in 1:5) {
    labels <- if (k == 1) rep(1, nrow(x)) else as.integer(factor(hclass(tree, k)))
    values <- c()
    vve <- ""
    for (model in if (ncol(x) == 1) c("E", "V") else models) {
      start <- proc.time()[[3]]
      fit <- fitted(x, model, labels)
      value <- if (is.null(fit)) NA else fit$loglik / nrow(x)
      if (model == "VVE" && k > 1) vve <- sprintf(',"VVE":%s', ending(fit))
      message(sprintf("%s k = %d %s %s %.1f s", name, k, model, number(value),
                      proc.time()[[3]] - start))
      values <- c(values, sprintf('"%s":%s', model, number(value)))
    }
    fits <- c(fits, sprintf('{"k":%d,"labels":"%s","log_likelihoods":{%s}%s}', k,
                            paste(labels - 1, collapse = ""), paste(values, collapse = ","), vve))
  }
  parts <- c(parts, sprintf('"%s":{"d":%d,"x":%s,\n"fits":[\n%s]}', name, ncol(x),
                            listed(sprintf("%.7g", t(x))), paste(fits, collapse = ",\n")))
}
counts <- sapply(models, function(model) nMclustParams(model, 3, 4))
cat(sprintf('{"version":"%s",\n"parameters_of_4_in_3":{%s},\n"data":{\n%s}}\n',
            packageVersion("mclust"), paste(sprintf('"%s":%d', models, counts), collapse = ","),
            paste(parts, collapse = ",\n")))
