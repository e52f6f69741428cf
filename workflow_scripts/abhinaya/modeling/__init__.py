"""The paper's section 3 in torch: encoders, attentive statistics pooling, the classifier and the losses.

An encoder turns an utterance into a sequence of vectors; pooling, classifier and losses are the same for all of them.
"""
